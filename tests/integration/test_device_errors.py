"""What the device does wrong, by injected faults of the emulated node, and what becomes of requests, workers and pod.

One test for each action of the table in `nrt`; which error has which action is tested there.
"""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from emulator import BIN, STAND_INS
from faulty_bundles import repacked
from neuron_node import doubler_bundle, node_environment
from runtime_server import RunningServer, ready, started, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

PATIENCE_SECONDS = 120
COMPILER = {"name": "neuronx-cc", "version": "2.26.6360.0"}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("neuron-bundle")
    return repacked(doubler_bundle(folder, tmp_path_factory.mktemp("compile")), {"compiler": COMPILER})


@pytest.fixture
def node(tmp_path: Path) -> Path:
    """The state of a node whose silicon is whole until a test breaks it."""
    folder = tmp_path / "node"
    folder.mkdir()
    return folder


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("node")


@pytest.fixture(scope="module")
def shared(bundle: Path, shared_node: Path) -> Iterator[RunningServer]:
    """Two cores that recover from whatever is injected; each worker imports torch, so one server has to do."""
    with ready(*flags(bundle), environment=node_environment(shared_node)) as server:
        wait_until(lambda: workers(server, "ready") == 2)
        yield server


@pytest.fixture
def server(shared: RunningServer, shared_node: Path) -> Iterator[RunningServer]:
    yield shared
    faults(shared_node, "clear")
    wait_until(lambda: workers(shared, "ready") == 2)


@pytest.fixture
def message(tmp_path: Path) -> Path:
    path = tmp_path / "termination-log"
    path.touch()
    return path


def flags(bundle: Path, *more: str) -> tuple[str, ...]:
    patience = ("--request-timeout-seconds", str(PATIENCE_SECONDS))
    return ("--engine", "torch_neuronx", "--bundle", str(bundle), "--neuron-monitor", "off", *patience, *more)


def faults(state: Path, *command: str) -> None:
    paths = os.pathsep.join([str(BIN.parent.parent), str(STAND_INS)])
    subprocess.run(
        [sys.executable, "-m", "emulator.faults", str(state), *command],
        env={**os.environ, "PYTHONPATH": paths},
        check=True,
        stdout=subprocess.DEVNULL,
    )


def ask(server: RunningServer, value: float = 1.0) -> httpx.Response:
    tensor = {"name": "values", "shape": [1, 3], "datatype": "FP32", "data": [value] * 3}
    with server.client() as client:
        url = "/v2/models/doubler/infer"
        return client.post(url, json={"inputs": [tensor]}, timeout=PATIENCE_SECONDS)


def workers(server: RunningServer, state: str) -> float:
    with server.client() as client:
        text = client.get("/metrics").text
    line = next(line for line in text.splitlines() if line.startswith(f'neuron_model_workers{{state="{state}"}}'))
    return float(line.split()[-1])


def restarts(server: RunningServer) -> float:
    return server.metric("neuron_model_worker_restarts_total")


def ask_until_a_worker_is_replaced(server: RunningServer) -> None:
    """Whichever core the requests go to: none of them may notice."""
    before = restarts(server)

    def is_replaced() -> bool:
        response = ask(server)
        assert response.status_code == 200, response.text
        return restarts(server) > before

    wait_until(is_replaced, PATIENCE_SECONDS)


def test_an_error_of_the_input_is_the_clients_and_costs_no_worker(server: RunningServer, shared_node: Path) -> None:
    before = restarts(server)
    faults(shared_node, "add", "execution_status=1006")

    response = ask(server)

    assert response.status_code == 400
    assert "Execution Out-Of-Bounds Memory Access" in response.json()["error"]
    assert restarts(server) == before
    assert workers(server, "ready") == 2


def test_a_passing_error_is_tried_again_and_not_seen(server: RunningServer, shared_node: Path) -> None:
    before = restarts(server)
    faults(shared_node, "add", "execution_status=1005", "--times", "2")

    assert [ask(server).status_code for _ in range(4)] == [200] * 4
    assert restarts(server) == before
    assert server.metric("neuron_model_request_retries_total") == 0 or before > 0


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param("execution_status=1204", id="an error that asks for a new process"),
        pytest.param("execution_status=1005", id="a passing error that stays"),
    ],
)
def test_a_worker_with_such_an_error_is_replaced_and_its_request_answered_by_another(
    server: RunningServer, shared_node: Path, fault: str
) -> None:
    faults(shared_node, "add", fault, "--cores", "0")

    ask_until_a_worker_is_replaced(server)


def test_a_broken_core_is_given_up_and_after_a_while_the_pod_drained(bundle: Path, node: Path, message: Path) -> None:
    given = flags(bundle, "--degraded-exit-seconds", "20", "--termination-message-path", str(message))
    with ready(*given, environment=node_environment(node)) as server, ThreadPoolExecutor(1) as threads:
        wait_until(lambda: workers(server, "ready") == 2)
        faults(node, "add", "execution_status=1202", "--cores", "0")
        wait_until(lambda: ask(server).status_code == 200 and workers(server, "given-up") == 1)
        assert server.get_status("/v2/health/ready") == 200
        wait_until(lambda: len(server.worker_pids()) == 1)
        (left,) = server.worker_pids()
        os.kill(left, signal.SIGSTOP)
        in_flight = threads.submit(ask, server, 4.0)
        server.wait_for_line('"message":"draining"')
        os.kill(left, signal.SIGCONT)

        assert in_flight.result().json()["outputs"][0]["data"] == [8.0] * 3
        assert server.process.wait(60) == 1
    told = json.loads(message.read_text())
    assert told["reason"] == "HardwareError"
    assert told["message"].startswith("NeuronCore 0 is broken: ")
    assert told["hint"] == "drain and replace this node"


def test_a_core_that_is_broken_from_the_start_does_not_keep_the_other_from_serving(bundle: Path, node: Path) -> None:
    faults(node, "add", "load_status=1201", "--cores", "0")
    with ready(*flags(bundle), environment=node_environment(node)) as server:
        wait_until(lambda: (workers(server, "ready"), workers(server, "given-up")) == (1, 1))

        assert ask(server).status_code == 200


def test_an_execution_that_never_returns_costs_its_worker_and_no_answer(bundle: Path, node: Path) -> None:
    # Long beside a healthy execution, on the slowest machine.
    given = flags(bundle, "--execution-timeout-seconds", "6")
    with ready(*given, environment=node_environment(node)) as server:
        wait_until(lambda: workers(server, "ready") == 2)
        faults(node, "add", "execution_hang=-1", "--cores", "0")

        ask_until_a_worker_is_replaced(server)
        assert server.wait_for_line('"message":"worker hangs".*"state":"executing"')


@pytest.mark.parametrize(
    ("fault", "reason", "said"),
    [
        pytest.param(
            "load_status=10",
            "CompilerVersionMismatch",
            "status=10 message=NRT_UNSUPPORTED_NEFF_VERSION; model.json says that it was compiled for inf2 by "
            "neuronx-cc 2.26.6360.0",
            id="another compiler",
        ),
        pytest.param("device_memory=1000", "OutOfDeviceMemory", "status=4 message=Allocation Failure", id="memory"),
        pytest.param("load_status=11", "OutOfMemory", "status=11", id="host memory"),
        pytest.param("load_status=1202", "HardwareError", "status=1202", id="the only core is broken"),
        pytest.param(
            "execution_status=1003", "ModelLoadFailed", "the first execution of b1.pt failed", id="warm-up fails"
        ),
    ],
)
def test_a_pod_that_cannot_load_ends_with_the_devices_reason(
    bundle: Path, node: Path, message: Path, fault: str, reason: str, said: str
) -> None:
    faults(node, "add", fault)

    told = exit_message(flags(bundle), node_environment(node, NEURON_RT_VISIBLE_CORES="0"), message)

    assert told["reason"] == reason
    assert said in told["message"]


def test_a_load_that_takes_too_long_ends_the_pod(bundle: Path, node: Path, message: Path) -> None:
    faults(node, "add", "slow_load=600")

    given = flags(bundle, "--load-timeout-seconds", "1")
    told = exit_message(given, node_environment(node, NEURON_RT_VISIBLE_CORES="0"), message)

    assert told["reason"] == "ModelLoadFailed"
    assert "hung while loading" in told["message"]


def test_a_core_that_its_killed_worker_does_not_let_go_ends_the_pod(bundle: Path, node: Path, message: Path) -> None:
    variables = node_environment(node, NEURON_RT_VISIBLE_CORES="0")
    given = flags(bundle, "--termination-message-path", str(message))
    with ready(*given, environment=variables) as server:
        faults(node, "add", "core_busy_after_kill=600")
        os.kill(server.worker_pids()[0], signal.SIGKILL)

        assert server.process.wait(PATIENCE_SECONDS) == 1
    told = json.loads(message.read_text())
    assert told["reason"] == "NeuronCoresBusy"
    assert "another process owns the core" in told["hint"]


def test_a_killed_pod_leaves_its_cores_to_the_next(bundle: Path, node: Path, tmp_path: Path) -> None:
    # It leaves its temporary files, too, which go with a pod.
    variables = node_environment(node, TMPDIR=str(tmp_path))
    with ready(*flags(bundle), environment=variables) as server:
        wait_until(lambda: workers(server, "ready") == 2)
        server.process.kill()

    with ready(*flags(bundle), environment=variables) as again:
        wait_until(lambda: workers(again, "ready") == 2)
        assert ask(again, 2.0).json()["outputs"][0]["data"] == [4.0] * 3


def exit_message(given: tuple[str, ...], variables: Mapping[str, str], message: Path) -> Mapping[str, str]:
    variables = {**variables, "NEURON_RUNTIME_TERMINATION_MESSAGE_PATH": str(message)}
    with started(*given, environment=variables) as server:
        assert server.process.wait(PATIENCE_SECONDS) == 1
    told: Mapping[str, str] = json.loads(message.read_text())
    return told
