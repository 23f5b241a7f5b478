"""Bundles that cannot be served, from the file on disk to the termination message of the process."""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from faulty_bundles import DoublePrecision, Transposed, bundle_of, repacked
from runtime_builders import tensor_bundle
from runtime_server import started

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

COMPILER = {"name": "neuronx-cc", "version": "2.26.6360.0"}
GIB = 2**30


@pytest.fixture
def bundle(tmp_path: Path) -> Path:
    return tensor_bundle(tmp_path / "bundle")


def told_by(bundle: Path, *flags: str, engine: str = "cpu") -> Mapping[str, Any]:
    """The termination message of a server that is given the bundle."""
    message = bundle.parent / "termination-log"
    message.touch()
    environment = {"NEURON_RUNTIME_TERMINATION_MESSAGE_PATH": str(message)}
    given = ("--engine", engine, "--bundle", str(bundle), *flags)
    with pytest.raises(AssertionError, match="no line matches"), started(*given, environment=environment) as server:
        server.wait_for_line("never")
    told: Mapping[str, Any] = json.loads(message.read_text())
    assert told["hint"]
    return told


def cut_in_half(path: Path) -> None:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        pytest.param(lambda bundle: (bundle / "b4.pt").unlink(), "b4.pt is missing", id="file missing"),
        pytest.param(lambda bundle: flip_a_bit(bundle / "b4.pt"), "b4.pt has the sha256", id="checksum wrong"),
        pytest.param(lambda bundle: cut_in_half(bundle / "b4.pt"), "bytes, but model.json says", id="program torn"),
        pytest.param(
            lambda bundle: cut_in_half(bundle / "model.json"), "model.json is not a valid", id="manifest torn"
        ),
    ],
)
def test_a_damaged_bundle_is_refused_before_any_worker_starts(
    bundle: Path, damage: Callable[[Path], object], said: str
) -> None:
    damage(bundle)

    told = told_by(bundle)

    assert told["reason"] == "ArtifactCorrupt"
    assert said in told["message"]
    assert str(bundle) in told["message"]


def test_a_torn_program_that_is_not_verified_fails_to_load_naming_what_torch_said(bundle: Path) -> None:
    cut_in_half(bundle / "b4.pt")

    told = told_by(bundle, "--no-verify")

    assert told["reason"] == "ModelLoadFailed"
    assert "PytorchStreamReader failed" in told["message"]


def test_a_program_of_another_dtype_is_refused_at_its_first_execution(tmp_path: Path) -> None:
    told = told_by(bundle_of(tmp_path / "bundle", DoublePrecision()))

    assert told["reason"] == "ModelLoadFailed"
    assert told["message"] == (
        "the program does not match its bundle: b4.pt returned float64 as output 0, model.json declares FP32"
    )


def test_a_program_whose_outputs_do_not_start_with_the_batch_is_refused(tmp_path: Path) -> None:
    told = told_by(bundle_of(tmp_path / "bundle", Transposed()))

    assert told["message"] == "b4.pt: output 0 has the shape [3, 4] for a batch of 4 rows"


def test_a_program_that_raises_at_its_first_execution_is_named_with_what_it_said(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", torch.nn.Linear(3, 3))
    document = json.loads((bundle / "model.json").read_text())
    repacked(bundle, {"inputs": [tensor | {"datatype": "INT64"} for tensor in document["inputs"]]})

    told = told_by(bundle)

    assert told["reason"] == "ModelLoadFailed"
    assert told["message"].startswith("the first execution of b4.pt failed: ")
    assert "dtype" in told["message"]


@pytest.mark.parametrize(
    ("target", "engine", "said"),
    [
        pytest.param(
            "trn2", "torch_neuronx", "but the torch_neuronx engine runs those for inf2, trn1, trn1n", id="later device"
        ),
        pytest.param("inf2", "cpu", "but the cpu engine runs those for cpu", id="neuron program on the CPU"),
        pytest.param("cpu", "torch_neuronx", "but the torch_neuronx engine runs those for", id="CPU program on neuron"),
    ],
)
def test_a_bundle_for_other_hardware_is_refused_naming_target_and_compiler(
    bundle: Path, target: str, engine: str, said: str
) -> None:
    repacked(bundle, {"target": target, "compiler": COMPILER})

    told = told_by(bundle, engine=engine)

    assert told["reason"] == "CompilerVersionMismatch"
    assert f"doubler were compiled for {target} by neuronx-cc 2.26.6360.0, {said}" in told["message"]
    assert told["details"] == {"target": target, "compiler": "neuronx-cc", "compilerVersion": "2.26.6360.0"}


def test_buckets_that_together_exceed_a_cores_memory_are_refused_before_loading(bundle: Path) -> None:
    document = json.loads((bundle / "model.json").read_text())
    for bucket in document["buckets"]:
        bucket["deviceBytes"] = 9 * GIB
    repacked(bundle, document | {"target": "inf2"})

    told = told_by(bundle, engine="torch_neuronx")

    assert told["reason"] == "OutOfDeviceMemory"
    assert "take 18.00 GiB of device memory together, but a NeuronCore has 16 GiB" in told["message"]
    assert "b1.pt 9.00 GiB, b4.pt 9.00 GiB" in told["message"]
