"""What the torch_neuronx stand-in does beyond the documented contract: serial cores, faults, memory, refusals."""

import os
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

import torch_neuronx
from emulated_node.counters import Reading, read_processes
from emulated_node.node import Node
from emulator.faults import heal, inject
from torch_neuronx.compiler_options import CompilerOptions, parse_compiler_args
from torch_neuronx.structure import flatten, rebuilding_code, rebuilt

pytestmark = pytest.mark.integration

EXAMPLE = torch.ones(2, 4)


@pytest.fixture
def state() -> Iterator[Path]:
    """This process's node; faults injected there end with the test."""
    directory = Path(os.environ["NEURON_EMULATOR_STATE"])
    yield directory
    heal(directory)


@pytest.fixture
def program() -> torch.jit.ScriptModule:
    torch.manual_seed(0)
    return torch_neuronx.trace(torch.nn.Linear(4, 4), EXAMPLE)


def own_reading(state: Path) -> Reading:
    (reading,) = [found for found in read_processes(Node(state, {})) if found.pid == os.getpid()]
    return reading


def seconds_of(calls: list[torch.jit.ScriptModule]) -> float:
    """How long it takes to execute all of them at the same time."""
    started = time.monotonic()
    with ThreadPoolExecutor(len(calls)) as threads:
        list(threads.map(lambda program: program(EXAMPLE), calls))
    return time.monotonic() - started


def test_a_core_is_serial_and_cores_are_parallel(state: Path, program: torch.jit.ScriptModule) -> None:
    other = torch_neuronx.trace(torch.nn.Linear(4, 4), EXAMPLE)
    torch_neuronx.set_neuron_cores(program, start_nc=0, nc_count=1)
    torch_neuronx.set_neuron_cores(other, start_nc=1, nc_count=1)
    seconds_of([program, other])
    inject(state, {"fault": "slow_execution", "value": 1.5})

    assert seconds_of([program, program]) >= 3.0
    assert seconds_of([program, other]) < 3.0


@pytest.mark.parametrize(
    ("fault", "message", "summary"),
    [
        pytest.param(
            {"fault": "execution_status", "value": 1003},
            "Failed to execute the model status=1003 message=Numerical Error",
            "completed_with_num_err",
            id="numerical",
        ),
        pytest.param(
            {"fault": "execution_status", "value": 1202},
            "Failed to execute the model status=1202 message=NRT_EXEC_HW_ERR_NC_UE",
            "completed_with_err",
            id="hardware",
        ),
        pytest.param(
            {"fault": "execution_hang", "value": 5},
            "Failed to execute the model status=5",
            "timed_out",
            id="hang-until-the-timeout",
        ),
    ],
)
def test_execution_faults_raise_and_are_counted(
    state: Path,
    program: torch.jit.ScriptModule,
    monkeypatch: pytest.MonkeyPatch,
    fault: dict[str, object],
    message: str,
    summary: str,
) -> None:
    monkeypatch.setenv("NEURON_RT_EXEC_TIMEOUT", "0.2")
    program(EXAMPLE)
    before = own_reading(state)
    inject(state, fault | {"times": 1})

    with pytest.raises(RuntimeError, match=message):
        program(EXAMPLE)

    assert own_reading(state).since(before).events[summary] == 1
    assert program(EXAMPLE).shape == (2, 4), "healed after one"


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        pytest.param(
            {"fault": "load_status", "value": 10}, "status=10 message=NRT_UNSUPPORTED_NEFF_VERSION", id="status"
        ),
        pytest.param({"fault": "device_memory", "value": 10}, "status=4 message=Allocation Failure", id="memory"),
    ],
)
def test_load_faults_strike_while_the_file_is_loaded(
    state: Path, program: torch.jit.ScriptModule, tmp_path: Path, fault: dict[str, object], message: str
) -> None:
    program(EXAMPLE)
    program.save(str(tmp_path / "program.pt"))
    inject(state, fault)

    with pytest.raises(RuntimeError, match=f"Could not load the model {message}"):
        torch.jit.load(str(tmp_path / "program.pt"))


def test_memory_of_a_program_is_given_back_when_the_last_reference_goes(state: Path, tmp_path: Path) -> None:
    torch_neuronx.trace(torch.nn.Linear(4, 4), EXAMPLE).save(str(tmp_path / "program.pt"))
    before = {program.model_id for program in own_reading(state).programs}

    loaded = torch.jit.load(str(tmp_path / "program.pt"))
    during = {program.model_id for program in own_reading(state).programs}
    del loaded

    assert len(during - before) == 1
    assert not {program.model_id for program in own_reading(state).programs} & (during - before)


def test_successive_loads_take_turns_on_the_cores(state: Path, tmp_path: Path) -> None:
    torch_neuronx.trace(torch.nn.Linear(4, 4), EXAMPLE).save(str(tmp_path / "program.pt"))
    before = {program.model_id for program in own_reading(state).programs}

    kept = [torch.jit.load(str(tmp_path / "program.pt")) for _ in range(4)]

    cores = [program.cores for program in own_reading(state).programs if program.model_id not in before]
    assert sorted(cores) == [(0,), (0,), (1,), (1,)], f"{len(kept)} loads"


def test_bf16_programs_take_half_the_memory() -> None:
    model = torch.nn.Linear(256, 256)
    example = torch.ones(1, 256)

    full = torch_neuronx.trace(model, example)
    half = torch_neuronx.trace(model, example, compiler_args=["--auto-cast", "all", "--auto-cast-type", "bf16"])

    assert half.program.numel() < 0.6 * full.program.numel()


def test_matmult_casts_the_multiplications_only() -> None:
    weight = torch.full((1, 1), 1 + 1 / 512)

    traced = torch_neuronx.trace(
        lambda x: (x @ weight, x * weight), torch.ones(1, 1), compiler_args="--auto-cast matmult"
    )

    product, elementwise = traced(torch.ones(1, 1))
    assert product.item() == 1.0
    assert elementwise.item() == pytest.approx(1 + 1 / 512)


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        pytest.param({"inline_weights_to_neff": False}, NotImplementedError, "fidelity", id="not-imitated"),
        pytest.param({"dynamic": True}, TypeError, "unexpected keyword", id="no-such-option"),
        pytest.param({"cpu_backend": True}, ValueError, "--target", id="cpu-backend-without-target"),
        pytest.param({"compiler_args": ["--autocast", "all"]}, ValueError, "no option '--autocast'", id="typing-error"),
        pytest.param({"compiler_args": "--auto-cast some"}, ValueError, "not one of", id="no-such-choice"),
    ],
)
def test_trace_refuses(options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        torch_neuronx.trace(torch.nn.Linear(4, 4), EXAMPLE, **options)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        pytest.param(None, CompilerOptions("none", "bf16", "inf2"), id="defaults"),
        pytest.param("--auto-cast=matmult -O1 --target trn1", CompilerOptions("matmult", "bf16", "trn1"), id="string"),
        pytest.param(
            ["--optlevel", "1", "--auto-cast-type", "fp16"], CompilerOptions("none", "fp16", "inf2"), id="list"
        ),
        pytest.param("--enable-fast-loading-neuron-binaries", CompilerOptions(), id="switch"),
    ],
)
def test_compiler_arguments(given: str | list[str] | None, expected: CompilerOptions) -> None:
    assert parse_compiler_args(given) == expected


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(torch.ones(1), id="tensor"),
        pytest.param((torch.ones(1), torch.zeros(2)), id="tuple"),
        pytest.param([torch.ones(1), torch.zeros(2)], id="list"),
        pytest.param({"a": torch.ones(1), "b": torch.zeros(2)}, id="dictionary"),
        pytest.param((torch.ones(1), (torch.zeros(2), torch.ones(3))), id="nested"),
        pytest.param((torch.ones(1),), id="tuple-of-one"),
    ],
)
def test_structure_is_rebuilt_from_flat_tensors(answer: object) -> None:
    flat = flatten(answer)

    assert eval(rebuilding_code(answer), {"flat": flat}) == rebuilt(answer, flat) == answer  # our own generated source


def test_an_answer_that_holds_no_tensors_is_refused() -> None:
    with pytest.raises(TypeError, match="returns tensors"):
        flatten(("text",))
