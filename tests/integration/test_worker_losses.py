"""Workers that are killed, stop, crash or run out of memory, and front processes that do: on real processes."""

import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

import memory_cgroup
from faulty_bundles import DEADLY, Crasher, Heavy, Hungry, bundle_of
from runtime_server import RunningServer, ready, started, wait_until
from worker_gate import WorkerGate

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]
needs_cgroups = pytest.mark.skipif(not memory_cgroup.is_available(), reason="needs root and a memory controller")

PATIENCE_SECONDS = 120
"""For a request that waits for a replaced worker to import torch, twice, on a slow machine."""
PATIENT = ("--request-timeout-seconds", str(PATIENCE_SECONDS))
SIMULATED = ("--engine", "simulated", "--simulated-service-ms", "5", *PATIENT)
LARGEST_BATCH = 8
IN_HAND = 2 * LARGEST_BATCH
"""Rows one worker can hold: a batch on its core and a full one behind it."""


def ask(server: RunningServer, *row: float, datatype: str = "FP32") -> httpx.Response:
    """One row for whatever model is served."""
    with server.client() as client:
        name = client.get("/v1/models").json()["data"][0]["id"]
        spec = client.get(f"/v2/models/{name}").json()["inputs"][0]
        tensor = {"name": spec["name"], "shape": [1, len(row)], "datatype": datatype, "data": list(row)}
        return client.post(f"/v2/models/{name}/infer", json={"inputs": [tensor]}, timeout=PATIENCE_SECONDS)


def ask_simulated(server: RunningServer, value: float = 0.0) -> httpx.Response:
    return ask(server, *[value] * 16)


@contextmanager
def asking(server: RunningServer, count: int) -> Iterator[Sequence["Future[httpx.Response]"]]:
    """So many clients at once, with a value each."""
    with ThreadPoolExecutor(count) as threads:
        yield [threads.submit(ask_simulated, server, value) for value in range(count)]


@contextmanager
def stopped(*pids: int) -> Iterator[None]:
    """While the test arranges things, so that no batch can be over before it is meant to be."""
    for pid in pids:
        os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        for pid in pids:
            if is_running(pid):
                os.kill(pid, signal.SIGCONT)


def is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_a_worker_killed_mid_batch_loses_no_request() -> None:
    with ready(*SIMULATED, "--cores", "2", "--execution-timeout-seconds", "600") as server:
        wait_until(lambda: workers(server, "ready") == 2)
        victim, other = server.worker_pids()
        with stopped(victim, other), asking(server, 2 * IN_HAND + LARGEST_BATCH) as answers:
            # More wait than the workers could leave if they had room: both have batches in hand.
            wait_until(lambda: server.metric("neuron_model_queue_rows") >= LARGEST_BATCH)
            os.kill(victim, signal.SIGKILL)
            os.kill(other, signal.SIGCONT)
            responses = [answer.result() for answer in answers]

        assert [response.status_code for response in responses] == [200] * len(responses)
        values = [response.json()["outputs"][0]["data"] for response in responses]
        assert values == [[float(value)] * 4 for value in range(len(responses))]
        assert server.metric("neuron_model_request_retries_total") > 0
        assert server.metric("neuron_model_worker_restarts_total") == 1


def test_readiness_is_false_while_no_worker_is_left_and_true_when_one_is_back(tmp_path: Path) -> None:
    gate = WorkerGate(tmp_path)
    with ready(*SIMULATED, "--cores", "1", environment=gate.environment) as server:
        gate.close()
        os.kill(server.worker_pids()[0], signal.SIGKILL)
        wait_until(lambda: server.get_status("/v2/health/ready") == 503)

        assert server.get_status("/v2/health/live") == 200
        assert server.metric("neuron_model_ready") == 0
        gate.open()
        server.wait_ready()
        assert ask_simulated(server).status_code == 200


def test_requests_wait_for_the_one_that_replaces_the_only_worker(tmp_path: Path) -> None:
    gate = WorkerGate(tmp_path)
    with ready(*SIMULATED, "--cores", "1", environment=gate.environment) as server:
        gate.close()
        os.kill(server.worker_pids()[0], signal.SIGKILL)
        wait_until(lambda: server.get_status("/v2/health/ready") == 503)
        with asking(server, 3) as answers:
            wait_until(lambda: server.metric("neuron_model_queue_rows") == 3)
            gate.open()
            assert [answer.result().status_code for answer in answers] == [200] * 3


def test_a_worker_that_keeps_ending_is_not_waited_for(tmp_path: Path) -> None:
    gate = WorkerGate(tmp_path)
    with ready(*SIMULATED, "--cores", "1", environment=gate.environment) as server:
        os.kill(server.worker_pids()[0], signal.SIGKILL)
        wait_until(lambda: server.metric("neuron_model_worker_restarts_total") == 1)
        server.wait_ready()
        gate.close()
        os.kill(server.worker_pids()[0], signal.SIGKILL)
        wait_until(lambda: server.metric("neuron_model_worker_restarts_total") == 2)

        assert ask_simulated(server).status_code == 503
        gate.open()


def test_one_of_two_workers_keeps_the_server_ready(tmp_path: Path) -> None:
    gate = WorkerGate(tmp_path)
    with ready(*SIMULATED, "--cores", "2", environment=gate.environment) as server:
        wait_until(lambda: workers(server, "ready") == 2)
        gate.close()
        os.kill(server.worker_pids()[0], signal.SIGKILL)
        wait_until(lambda: workers(server, "ready") == 1)

        assert server.get_status("/v2/health/ready") == 200
        assert ask_simulated(server).status_code == 200
        gate.open()
        wait_until(lambda: workers(server, "ready") == 2)


def test_a_stopped_worker_is_noticed_and_replaced() -> None:
    # Long beside what a healthy worker needs, on the slowest machine: its replacement must not be taken as hung too.
    flags = (*SIMULATED, "--cores", "1", "--execution-timeout-seconds", "4")
    with ready(*flags) as server:
        os.kill(server.worker_pids()[0], signal.SIGSTOP)

        assert ask_simulated(server).status_code == 200
        assert server.wait_for_line('"message":"worker hangs".*"state":"executing"')


def test_an_input_that_crashes_the_program_natively_costs_only_its_own_request(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", Crasher(), "INT64")
    with ready("--engine", "cpu", "--bundle", str(bundle), *PATIENT) as server:
        deadly = ask(server, DEADLY, 0, 0, datatype="INT64")

        assert deadly.status_code == 500
        assert "2 workers were lost computing this request (killed by SIGFPE)" in deadly.json()["error"]
        assert server.wait_for_line("Fatal Python error: Floating point exception")  # and where it happened
        server.wait_ready()
        assert ask(server, 1, 2, 3, datatype="INT64").json()["outputs"][0]["data"] == [2, 4, 6]
        assert server.metric("neuron_model_worker_restarts_total") == 2


def test_a_front_process_that_is_killed_takes_even_a_stopped_worker_with_it() -> None:
    """A stopped one stands for one that hangs in a native library: neither can see that its channel has ended."""
    with ready(*SIMULATED, "--cores", "2") as server:
        wait_until(lambda: workers(server, "ready") == 2)
        pids = server.worker_pids()
        os.kill(pids[0], signal.SIGSTOP)
        server.process.kill()

        wait_until(lambda: not any(map(is_running, pids)))


def test_a_worker_whose_front_process_dies_while_it_starts_ends_by_itself(tmp_path: Path) -> None:
    gate = WorkerGate(tmp_path)
    with ready(*SIMULATED, "--cores", "1", environment=gate.environment) as server:
        gate.close()
        first = server.worker_pids()[0]
        os.kill(first, signal.SIGKILL)
        wait_until(lambda: server.worker_pids() not in ([], [first]))
        held = server.worker_pids()
        server.process.kill()
        server.process.wait()
        assert all(map(is_running, held))
        gate.open()

        wait_until(lambda: not any(map(is_running, held)))


@needs_cgroups
def test_a_model_too_large_for_the_containers_memory_ends_it_as_out_of_memory(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", Heavy(megabytes=700))
    message = tmp_path / "termination-log"
    message.touch()
    flags = ("--engine", "cpu", "--bundle", str(bundle), "--termination-message-path", str(message))
    with memory_cgroup.memory_cgroup(megabytes=450) as group, started(*flags, prefix=group.prefix) as server:
        assert server.process.wait(150) == 1

    assert '"reason":"OutOfMemory"' in message.read_text()
    assert "the worker was killed (SIGKILL) while loading the model" in message.read_text()


@needs_cgroups
def test_a_worker_that_the_kernel_kills_for_its_memory_is_replaced(tmp_path: Path) -> None:
    bundle = bundle_of(tmp_path / "bundle", Hungry())
    flags = ("--engine", "cpu", "--bundle", str(bundle), *PATIENT)
    with memory_cgroup.memory_cgroup(megabytes=600) as group, ready(*flags, prefix=group.prefix) as server:
        hungry = ask(server, 1500.0, 0.0, 0.0)

        assert (hungry.status_code, server.process.poll()) == (500, None)
        assert "2 workers were lost computing this request (killed by SIGKILL)" in hungry.json()["error"]
        server.wait_ready()
        assert ask(server, 1.0, 2.0, 3.0).json()["outputs"][0]["data"] == [2.0, 4.0, 6.0]


def test_a_container_killed_as_a_whole_starts_again_as_if_nothing_had_been() -> None:
    """What newer kernels do when one of its processes runs out of memory (memory.oom.group)."""
    flags = (*SIMULATED, "--cores", "2")
    with ready(*flags) as server:
        wait_until(lambda: workers(server, "ready") == 2)
        everything = [server.process.pid, *server.worker_pids()]
        for pid in everything:
            os.kill(pid, signal.SIGKILL)
        wait_until(lambda: not any(map(is_running, everything)))

    with ready(*flags) as again:
        assert ask_simulated(again, 5.0).json()["outputs"][0]["data"] == [5.0] * 4


def test_a_worker_is_a_likelier_victim_of_the_kernel_than_the_front_process() -> None:
    with ready(*SIMULATED, "--cores", "1") as server:
        front, worker = (
            int(Path(f"/proc/{pid}/oom_score_adj").read_text()) for pid in (server.process.pid, *server.worker_pids())
        )

        assert worker > front or worker == 1000


def workers(server: RunningServer, state: str) -> float:
    with server.client() as client:
        text = client.get("/metrics").text
    line = next(line for line in text.splitlines() if line.startswith(f'neuron_model_workers{{state="{state}"}}'))
    return float(line.split()[-1])
