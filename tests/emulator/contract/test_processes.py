"""What loading means for processes on one node: the operators' registration, and who owns a NeuronCore.

Sources: AWS "NeuronX Runtime Configuration" (visible cores, exclusive ownership) and aws-neuron-sdk#156 (the import
registers the operators). Documented behavior only, so that these tests can run on silicon.
"""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]  # silicon has to compile

TRACE = """
import sys, torch, torch_neuronx
model = torch.nn.Linear(4, 2)
torch_neuronx.trace(model, torch.ones(1, 4), compiler_args=["--target", "inf2"], cpu_backend=True).save(sys.argv[1])
"""
LOAD = """
import sys, torch, torch_neuronx
print(tuple(torch.jit.load(sys.argv[1])(torch.ones(1, 4)).shape), flush=True)
"""
LOAD_WITHOUT_THE_IMPORT = """
import sys, torch
torch.jit.load(sys.argv[1])
"""
LOAD_AND_HOLD = LOAD + "sys.stdin.read()"

Environment = dict[str, str]
RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory, import_path: Environment) -> str:
    """A saved program, traced in a process of its own, which owns no core."""
    path = str(tmp_path_factory.mktemp("program") / "program.pt")
    subprocess.run([sys.executable, "-c", TRACE, path], env=os.environ | import_path, check=True)
    return path


@contextmanager
def holding(program: str, environment: Environment) -> Iterator["subprocess.Popen[str]"]:
    """A process that has loaded the program and keeps its cores."""
    with subprocess.Popen(
        [sys.executable, "-c", LOAD_AND_HOLD, program],
        env=environment,
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "(1, 2)\n"
            yield process
        finally:
            process.kill()


def test_a_program_loads_only_where_torch_neuronx_is_imported(program: str, run_python: RunPython) -> None:
    loaded = run_python(LOAD_WITHOUT_THE_IMPORT, program)

    assert loaded.returncode != 0
    assert "Unknown builtin op: neuron::" in loaded.stderr


def test_a_process_owns_every_visible_core_until_it_dies(
    program: str, run_python: RunPython, node_env: Environment
) -> None:
    with holding(program, node_env) as owner:
        refused = run_python(LOAD, program, NEURON_RT_VISIBLE_CORES="1")
        owner.kill()
        owner.wait()
        accepted = run_python(LOAD, program, NEURON_RT_VISIBLE_CORES="1")

    assert refused.returncode != 0
    assert "NRT:nrt_allocate_neuron_cores" in refused.stderr
    assert "not available - Requested:" in refused.stderr
    assert "Available:0" in refused.stderr
    assert "RuntimeError: The PyTorch Neuron Runtime could not be initialized" in refused.stderr
    assert accepted.stdout == "(1, 2)\n", accepted.stderr


def test_processes_with_different_visible_cores_share_a_device(
    program: str, run_python: RunPython, node_env: Environment
) -> None:
    with holding(program, node_env | {"NEURON_RT_VISIBLE_CORES": "0"}):
        neighbor = run_python(LOAD, program, NEURON_RT_VISIBLE_CORES="1")
        any_core = run_python(LOAD, program, NEURON_RT_NUM_CORES="1")

    assert neighbor.stdout == "(1, 2)\n", neighbor.stderr
    assert any_core.stdout == "(1, 2)\n", any_core.stderr
