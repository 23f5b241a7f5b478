"""What a pod lives through, on a real process with the simulated device: lost workers, overload, drain."""

import asyncio
import json
import os
import signal
import socket
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from runtime_builders import tensor_bundle
from runtime_server import RunningServer, ready, started, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(180)]

INFER = "/v2/models/simulated/infer"
ROW = {"inputs": [{"name": "input", "shape": [1, 16], "datatype": "FP32", "data": [0] * 16}]}


def simulated(*flags: str, service_ms: float = 5) -> tuple[str, ...]:
    return ("--engine", "simulated", "--simulated-service-ms", str(service_ms), *flags)


def ask(server: RunningServer, value: int = 0) -> httpx.Response:
    row = {"name": "input", "shape": [1, 16], "datatype": "FP32", "data": [value] * 16}
    with server.client() as client:
        return client.post(INFER, json={"inputs": [row]})


def ask_many(server: RunningServer, count: int) -> list[httpx.Response]:
    with ThreadPoolExecutor(count) as threads:
        return list(threads.map(lambda value: ask(server, value), range(count)))


def test_sixty_four_clients_get_their_own_answers_in_shared_batches() -> None:
    # A batch takes long beside the arrival of 64 requests, also on a busy machine.
    with ready(*simulated("--max-batch-size", "8", service_ms=100)) as server:
        responses = ask_many(server, 64)

        assert [r.json()["outputs"][0]["data"] for r in responses] == [[float(value)] * 4 for value in range(64)]
        assert server.metric("neuron_model_rows_total") == 64
        assert server.metric("neuron_model_batches_total") < 64


def test_workers_killed_mid_batch_lose_no_request() -> None:
    with ready(*simulated(service_ms=300), "--cores", "2") as server, ThreadPoolExecutor(12) as threads:
        answers = [threads.submit(ask, server, value) for value in range(12)]
        wait_until(lambda: server.metric("neuron_model_queue_duration_seconds_count") >= 0)
        time.sleep(0.15)  # into the first batch; nothing tells from outside when an execution is half done
        os.kill(server.worker_pids()[0], signal.SIGKILL)

        assert [answer.result().status_code for answer in answers] == [200] * 12
        assert server.metric("neuron_model_request_retries_total") > 0
        assert server.metric("neuron_model_worker_restarts_total") == 1


def test_readiness_follows_the_workers() -> None:
    with ready(*simulated(), "--cores", "1") as server:
        os.kill(server.worker_pids()[0], signal.SIGKILL)
        wait_until(lambda: server.get_status("/v2/health/ready") == 503)

        assert ask(server).status_code == 503
        server.wait_ready()
        assert ask(server).status_code == 200


def test_a_stopped_worker_is_noticed_and_replaced() -> None:
    flags = simulated("--cores", "1", "--execution-timeout-seconds", "1")
    with ready(*flags) as server:
        os.kill(server.worker_pids()[0], signal.SIGSTOP)

        assert ask(server).status_code == 200
        assert server.wait_for_line('"message":"worker hangs".*"state":"executing"')


def test_overload_is_refused_at_once_with_retry_after() -> None:
    flags = simulated("--cores", "1", "--max-batch-size", "1", "--queue-capacity-rows", "4", service_ms=200)
    with ready(*flags) as server:
        responses = ask_many(server, 20)
        refused = [r for r in responses if r.status_code == 429]

        assert len(refused) >= 10
        assert {r.status_code for r in responses} == {200, 429}
        assert all(1 <= int(r.headers["retry-after"]) <= 30 for r in refused)
        assert "the queue is full (4 of 4 rows wait)" in refused[0].json()["error"]


def test_a_request_past_its_deadline_is_504_and_never_computed() -> None:
    flags = simulated("--cores", "1", "--max-batch-size", "1", "--request-timeout-seconds", "0.5", service_ms=300)
    with ready(*flags, "--in-flight", "1") as server:
        codes = sorted(r.status_code for r in ask_many(server, 6))
        wait_until(lambda: server.metric("neuron_model_queue_rows") == 0)

        assert codes.count(504) >= 4
        assert server.metric("neuron_model_rows_total") <= 2


def test_a_client_that_leaves_hurts_nobody_and_is_not_computed() -> None:
    flags = simulated("--cores", "1", "--max-batch-size", "1", "--in-flight", "1", service_ms=400)
    with ready(*flags) as server, ThreadPoolExecutor(3) as threads:
        first = threads.submit(ask, server)
        wait_until(lambda: server.metric("neuron_model_workers") == 1)
        address = httpx.URL(server.url)
        with socket.create_connection((address.host, address.port or 0)) as leaver:
            body = json.dumps(ROW).encode()
            head = f"POST {INFER} HTTP/1.1\r\nhost: x\r\ncontent-length: {len(body)}\r\n\r\n".encode()
            leaver.sendall(head + body)
            wait_until(lambda: server.metric("neuron_model_queue_rows") == 1)
        wait_until(lambda: server.metric("neuron_model_requests_canceled_total") == 1)

        assert first.result().status_code == 200
        assert ask(server).status_code == 200
        assert server.metric("neuron_model_rows_total") == 2


def test_drain_answers_everything_and_exits_0() -> None:
    with ready(*simulated("--drain-seconds", "1", service_ms=20)) as server:
        failures: list[str] = []
        answered = 0
        told = threading.Event()

        def keep_asking() -> None:
            nonlocal answered
            while True:
                try:
                    response = ask(server)
                except httpx.ConnectError:
                    return  # the listener is closed: a new connection goes to another pod
                if response.status_code != 200:
                    failures.append(response.text)
                if told.is_set() and response.headers.get("connection") != "close":
                    failures.append("no Connection: close while draining")
                answered += 1

        threads = [threading.Thread(target=keep_asking) for _ in range(4)]
        for thread in threads:
            thread.start()
        wait_until(lambda: answered > 10)
        server.process.send_signal(signal.SIGTERM)
        wait_until(lambda: server.get_status("/v2/health/ready") == 503)
        told.set()
        before = answered
        for thread in threads:
            thread.join()

        assert server.process.wait(10) == 0
        # An answer begun just before SIGTERM may still say keep-alive.
        assert [text for text in failures if "Connection" not in text] == []
        assert answered > before


def test_in_flight_requests_finish_after_the_listener_has_closed() -> None:
    with ready(*simulated("--drain-seconds", "0", "--cores", "1", service_ms=800)) as server:
        with ThreadPoolExecutor(1) as threads:
            answer = threads.submit(ask, server)
            wait_until(lambda: server.metric("neuron_model_queue_rows") == 0)
            time.sleep(0.2)  # the request is on the device; only the device knows
            server.process.send_signal(signal.SIGTERM)

            assert answer.result().status_code == 200
        assert server.process.wait(10) == 0


def test_a_second_sigterm_shortens_the_drain() -> None:
    with ready(*simulated("--drain-seconds", "60")) as server:
        server.process.send_signal(signal.SIGTERM)
        server.wait_for_line('"message":"draining"')
        server.process.send_signal(signal.SIGTERM)

        assert server.process.wait(10) == 0


def test_no_worker_outlives_the_server() -> None:
    with ready(*simulated()) as server:
        workers = server.worker_pids()
        server.process.kill()
        wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


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
        began = time.monotonic()
        assert await asyncio.to_thread(server.get_status, "/health") == 200
        assert time.monotonic() - began < 2
        for _, writer in opened:
            writer.close()
