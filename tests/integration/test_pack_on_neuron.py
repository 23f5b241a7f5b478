"""`pack` with compiled Neuron programs, as traced and loaded by the emulator's torch_neuronx."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from neuron_runtime.artifacts import load_bundle

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
STAND_INS = Path(__file__).parents[2] / "hack" / "emulator" / "stand-ins"
TRACE = """
import sys, torch, torch_neuronx
layer = torch.nn.Linear(4, 2).eval()
for batch_size in (1, 4):
    torch_neuronx.trace(layer, torch.zeros(batch_size, 4)).save(f"{sys.argv[1]}/b{batch_size}.pt")
"""


def run(folder: Path, *arguments: str, emulated: bool = True) -> "subprocess.CompletedProcess[str]":
    paths = {"PYTHONPATH": str(STAND_INS)} if emulated else {}
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    environment |= {**paths, "NEURON_EMULATOR_STATE": str(folder / "neuron"), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-W", "ignore", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)


@pytest.fixture
def programs(tmp_path: Path) -> list[str]:
    traced = run(tmp_path, "-c", TRACE, str(tmp_path))
    assert traced.returncode == 0, traced.stderr
    return [str(tmp_path / "b4.pt"), str(tmp_path / "b1.pt")]


def pack(folder: Path, *arguments: str, emulated: bool = True) -> "subprocess.CompletedProcess[str]":
    command = ["-m", "neuron_runtime", "pack", *arguments, "--task", "Tensor", "-o", str(folder / "bundle")]
    return run(folder, *command, emulated=emulated)


def test_compiled_programs_become_buckets_of_their_fixed_sizes(tmp_path: Path, programs: list[str]) -> None:
    packed = pack(tmp_path, *programs, "--input", "x:FP32:-1,4")
    assert packed.returncode == 0, packed.stderr
    bundle = load_bundle(tmp_path / "bundle")
    assert [bucket.batch_size for bucket in bundle.manifest.buckets] == [1, 4]
    assert bundle.manifest.target == "inf2"
    assert bundle.manifest.compiler is not None
    assert bundle.manifest.compiler.name == "torch-neuronx"
    assert packed.stdout.count("a Neuron program for x") == 2
    assert packed.stdout.splitlines()[-1] == bundle.digest


def test_a_shape_it_was_not_traced_with_is_refused_in_the_words_of_the_program(
    tmp_path: Path, programs: list[str]
) -> None:
    packed = pack(tmp_path, programs[0], "--input", "x:FP32:-1,5")
    assert packed.returncode == 1
    assert "Incorrect tensor shape at input tensor #0: received 1 5, expected 4 4" in packed.stderr


def test_a_compiled_program_where_torch_neuronx_is_missing_says_where_to_go(
    tmp_path: Path, programs: list[str]
) -> None:
    packed = pack(tmp_path, programs[0], "--input", "x:FP32:-1,4", emulated=False)
    assert packed.returncode == 1
    assert "is a compiled Neuron program, but torch_neuronx cannot be imported here" in packed.stderr
    assert "AWS's Neuron PyTorch image" in packed.stderr
