"""The torch_neuronx engine on an emulated node: one core per worker, and neuron-monitor's figures."""

import json
import os
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from faulty_bundles import repacked
from neuron_node import doubler_bundle, node_environment
from runtime_server import RunningServer, ready, started, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return doubler_bundle(tmp_path_factory.mktemp("neuron-bundle"), tmp_path_factory.mktemp("compile"))


@pytest.fixture(scope="module")
def busy_state(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The node on which `server` owns both cores."""
    return tmp_path_factory.mktemp("busy-node")


@pytest.fixture(scope="module")
def server(bundle: Path, busy_state: Path) -> Iterator[RunningServer]:
    """Shared, because each worker imports torch: both cores, neuron-monitor running. Tests leave it serving."""
    with ready(*flags(bundle), environment=node_environment(busy_state)) as running:
        wait_until(lambda: _ready_workers(running) == 2)
        yield running


@pytest.fixture
def message(tmp_path: Path) -> Path:
    path = tmp_path / "termination-log"
    path.touch()
    return path


def flags(bundle: Path, *more: str) -> tuple[str, ...]:
    return ("--engine", "torch_neuronx", "--bundle", str(bundle), *more)


def ask(server: RunningServer, value: float = 1.0) -> httpx.Response:
    tensor = {"name": "values", "shape": [1, 3], "datatype": "FP32", "data": [value] * 3}
    with server.client() as client:
        return client.post("/v2/models/doubler/infer", json={"inputs": [tensor]})


def test_both_cores_serve_and_the_monitor_reports_them(server: RunningServer) -> None:
    assert ask(server, 3.0).json()["outputs"][0]["data"] == [6.0, 6.0, 6.0]
    wait_until(lambda: server.metric("neuron_monitor_up") == 1)
    wait_until(lambda: server.metric("execution_status_total") >= 5)

    with server.client() as client:
        text = client.get("/metrics").text
    assert 'runtime_tag="ml/doubler-0/doubler/nc0"' in text
    assert 'runtime_tag="ml/doubler-0/doubler/nc1"' in text
    assert "neuroncore_utilization_ratio{" in text


@pytest.mark.usefixtures("server")
def test_a_core_that_stays_busy_ends_the_pod(bundle: Path, busy_state: Path, message: Path) -> None:
    variables = node_environment(busy_state, NEURON_RT_VISIBLE_CORES="1")

    told = _exit_message(bundle, variables, message)

    assert told["reason"] == "NeuronCoresBusy"
    assert "another process owns the core" in told["hint"]


def test_a_killed_worker_gets_its_core_back(server: RunningServer) -> None:
    worker = next(pid for pid in server.worker_pids() if b"neuron_runtime.worker" in _command_line(pid))
    os.kill(worker, signal.SIGKILL)
    wait_until(lambda: server.metric("neuron_model_worker_restarts_total") == 1)
    wait_until(lambda: _ready_workers(server) == 2)

    assert ask(server).status_code == 200


def test_a_neuron_program_that_is_packed_as_one_for_the_cpu_says_what_to_do(
    bundle: Path, message: Path, tmp_path: Path
) -> None:
    mislabeled = repacked(Path(shutil.copytree(bundle, tmp_path / "bundle")), {"target": "cpu"})
    variables = {"NEURON_RUNTIME_TERMINATION_MESSAGE_PATH": str(message)}
    with (
        pytest.raises(AssertionError, match="no line"),
        started("--engine", "cpu", "--bundle", str(mislabeled), environment=variables) as server,
    ):
        server.wait_for_line("never")
    told = json.loads(message.read_text())

    assert told["reason"] == "ModelLoadFailed"
    assert "serve it with the torch_neuronx engine" in told["hint"]


def _exit_message(bundle: Path, variables: dict[str, str], message: Path) -> dict[str, str]:
    variables["NEURON_RUNTIME_TERMINATION_MESSAGE_PATH"] = str(message)
    with pytest.raises(AssertionError, match="no line"), started(*flags(bundle), environment=variables) as server:
        server.wait_for_line("never")
    told: dict[str, str] = json.loads(message.read_text())
    return told


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes()


def _workers(server: RunningServer, state: str) -> float:
    with server.client() as client:
        text = client.get("/metrics").text
    line = next(line for line in text.splitlines() if line.startswith(f'neuron_model_workers{{state="{state}"}}'))
    return float(line.split()[-1])


def _ready_workers(server: RunningServer) -> float:
    return _workers(server, "ready")
