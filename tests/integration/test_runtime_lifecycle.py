"""What a pod lives through, on a real process with the simulated device: overload, deadlines, drain, wrong settings."""

import asyncio
import json
import os
import signal
import socket
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from runtime_builders import tensor_bundle
from runtime_server import RunningServer, ready, started, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

PATIENT = ("--request-timeout-seconds", "120", "--execution-timeout-seconds", "600")
INFER = "/v2/models/simulated/infer"
ROW = {"inputs": [{"name": "input", "shape": [1, 16], "datatype": "FP32", "data": [0] * 16}]}


def simulated(*flags: str, service_ms: float = 5) -> tuple[str, ...]:
    return ("--engine", "simulated", "--simulated-service-ms", str(service_ms), *flags)


def ask(server: RunningServer, value: int = 0, headers: Mapping[str, str] | None = None) -> httpx.Response:
    row = {"name": "input", "shape": [1, 16], "datatype": "FP32", "data": [value] * 16}
    with server.client() as client:
        return client.post(INFER, json={"inputs": [row]}, headers=headers, timeout=120)


@contextmanager
def stopped_workers(server: RunningServer) -> Iterator[None]:
    """While the test arranges things, so that no batch is over before it is meant to be, however slow the machine."""
    pids = server.worker_pids()
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def test_sixty_four_clients_get_their_own_answers_in_shared_batches() -> None:
    flags = simulated("--cores", "1", "--max-batch-size", "8", *PATIENT)
    with ready(*flags) as server, ThreadPoolExecutor(64) as threads:
        with stopped_workers(server):
            answers = [threads.submit(ask, server, value) for value in range(64)]
            wait_until(lambda: server.metric("neuron_model_queue_rows") >= 32)
        responses = [answer.result() for answer in answers]

        assert [r.json()["outputs"][0]["data"] for r in responses] == [[float(value)] * 4 for value in range(64)]
        assert server.metric("neuron_model_rows_total") == 64
        # The 32 that waited share 4 batches, whatever the others did.
        assert server.metric("neuron_model_batches_total") <= 64 - 32 + 4


def test_overload_is_refused_at_once_with_retry_after() -> None:
    flags = simulated("--cores", "1", "--max-batch-size", "1", "--queue-capacity-rows", "4", *PATIENT)
    with ready(*flags) as server, ThreadPoolExecutor(20) as threads:
        with stopped_workers(server):
            answers = [threads.submit(ask, server) for _ in range(20)]
            wait_until(lambda: sum(answer.done() for answer in answers) >= 14)
            refused = [answer.result() for answer in answers if answer.done()]
        responses = [answer.result() for answer in answers]

        assert [r.status_code for r in refused] == [429] * 14
        assert sorted(r.status_code for r in responses) == [200] * 6 + [429] * 14  # 2 in hand, 4 waiting
        assert all(1 <= int(r.headers["retry-after"]) <= 30 for r in refused)
        assert "the queue is full (4 of 4 rows wait)" in refused[-1].json()["error"]


def test_a_request_past_its_deadline_is_504_and_never_computed() -> None:
    flags = simulated("--cores", "1", "--max-batch-size", "1", *PATIENT)
    with ready(*flags) as server, ThreadPoolExecutor(6) as threads:
        with stopped_workers(server):
            answers = [threads.submit(ask, server) for _ in range(3)]  # 2 in hand, 1 waiting
            wait_until(lambda: server.metric("neuron_model_queue_rows") == 1)
            hasty = [threads.submit(ask, server, headers={"X-Request-Timeout-Seconds": "0.2"}) for _ in range(4)]
            assert [answer.result().status_code for answer in hasty] == [504] * 4

        assert [answer.result().status_code for answer in answers] == [200] * 3
        assert ask(server).status_code == 200
        assert server.metric("neuron_model_rows_total") == 4


def test_a_client_that_leaves_hurts_nobody_and_is_not_computed() -> None:
    flags = simulated("--cores", "1", "--max-batch-size", "1", *PATIENT)
    with ready(*flags) as server, ThreadPoolExecutor(3) as threads:
        with stopped_workers(server):
            answers = [threads.submit(ask, server) for _ in range(3)]  # 2 in hand, 1 waiting
            wait_until(lambda: server.metric("neuron_model_queue_rows") == 1)
            address = httpx.URL(server.url)
            with socket.create_connection((address.host, address.port or 0)) as leaver:
                body = json.dumps(ROW).encode()
                head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
                leaver.sendall(head + body)
                wait_until(lambda: server.metric("neuron_model_queue_rows") == 2)
            wait_until(lambda: server.metric("neuron_model_requests_canceled_total") == 1)

        assert [answer.result().status_code for answer in answers] == [200] * 3
        assert ask(server).status_code == 200
        assert server.metric("neuron_model_rows_total") == 4


@pytest.fixture
def message(tmp_path: Path) -> Path:
    path = tmp_path / "termination-log"
    path.touch()
    return path


def exits_with(message: Path, *flags: str) -> dict[str, str]:
    # By the environment, as in a pod: it counts even when the flags cannot be read.
    environment = {"NEURON_RUNTIME_TERMINATION_MESSAGE_PATH": str(message)}
    with pytest.raises(AssertionError, match="no line matches"), started(*flags, environment=environment) as server:
        server.wait_for_line("never")
    told: dict[str, str] = json.loads(message.read_text())
    return told


def test_a_program_that_cannot_be_loaded_ends_the_pod_with_its_reason(tmp_path: Path, message: Path) -> None:
    bundle = tensor_bundle(tmp_path / "bundle")
    (bundle / "b4.pt").write_bytes(b"not a program")

    told = exits_with(message, "--engine", "cpu", "--bundle", str(bundle), "--no-verify")

    assert told["reason"] == "ModelLoadFailed"
    assert told["message"].startswith("loading the model failed")


@pytest.mark.parametrize(
    ("flags", "reason", "told"),
    [
        pytest.param(["--port", "eighty"], "InvalidConfiguration", "port: Input should be a valid integer", id="port"),
        pytest.param(["--simulated-row", "gpt"], "InvalidConfiguration", "no benchmark row 'gpt'", id="row"),
        pytest.param(["--engine", "cpu", "--bundle", "/none"], "ArtifactNotFound", "/none", id="no bundle"),
    ],
)
def test_a_wrong_configuration_ends_with_a_message(message: Path, flags: list[str], reason: str, told: str) -> None:
    found = exits_with(message, *simulated(), *flags)

    assert (found["reason"], told in found["message"]) == (reason, True)
    assert found["hint"]


def test_a_taken_port_ends_with_a_message(message: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        found = exits_with(message, *simulated(), "--port", str(taken.getsockname()[1]))

    assert found["reason"] == "InvalidConfiguration"
    assert "Address already in use" in found["message"]


def test_sigterm_while_loading_exits_0() -> None:
    with started(*simulated()) as server:
        assert server.terminate() == 0


async def test_a_thousand_connections_do_not_starve_health() -> None:
    with ready(*simulated()) as server:
        address = httpx.URL(server.url)
        opened = [await asyncio.open_connection(address.host, address.port) for _ in range(1000)]
        assert await asyncio.to_thread(server.get_status, "/health") == 200
        for _, writer in opened:
            writer.close()
