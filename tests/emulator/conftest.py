"""Puts the stand-ins behind what is installed: where the real torch_neuronx is present, the contract tests use it."""

import importlib.util
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

EMULATOR = Path(__file__).parents[2] / "hack" / "emulator"
STAND_INS = EMULATOR / "stand-ins"
if str(STAND_INS) not in sys.path:
    sys.path.append(str(STAND_INS))
_found = importlib.util.find_spec("torch_neuronx")
IS_EMULATED = _found is not None and str(_found.origin).startswith(str(STAND_INS))

Environment = dict[str, str]
RunPython = Callable[..., "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def import_path() -> Environment:
    """What a subprocess needs to find the same torch_neuronx as this process: nothing, where it is installed."""
    return {"PYTHONPATH": str(STAND_INS)} if IS_EMULATED else {}


@pytest.fixture
def node_env(tmp_path: Path, import_path: Environment) -> Environment:
    """The environment of a process on a node of its own: an emulated inf2.xlarge, or the real one."""
    state = tmp_path / "state"
    kept = {key: value for key, value in os.environ.items() if not key.startswith(("NEURON_", "PYTHON"))}
    return (
        kept
        | import_path
        | {
            "NEURON_EMULATOR_STATE": str(state),
            "OMP_NUM_THREADS": "1",
        }
    )


@pytest.fixture
def run_python(node_env: Environment) -> RunPython:
    """Run a script in a fresh interpreter on the node; extra keywords become environment variables."""

    def run(script: str, *arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
        return subprocess.run(
            [sys.executable, "-c", script, *arguments],
            env=node_env | environment,
            capture_output=True,
            text=True,
            timeout=300,
            check=False,
        )

    return run


@pytest.fixture(scope="session", autouse=True)
def node_of_this_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A node of its own for the tests that trace and load in this process, which then owns its cores."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NEURON_EMULATOR_STATE", str(tmp_path_factory.mktemp("node")))
        patch.delenv("NEURON_RT_VISIBLE_CORES", raising=False)
        yield
