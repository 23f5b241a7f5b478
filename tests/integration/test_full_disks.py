"""A node whose disk is full, or that has stopped taking logs: serving goes on, and an exit is still an orderly one."""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

import neuron_runtime
from local_control_plane import free_port
from runtime_server import STOP_SECONDS, RunningServer, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

COMMAND = (sys.executable, "-m", "neuron_runtime", "serve", "--host", "127.0.0.1")
ENVIRONMENT = {"PATH": os.environ["PATH"], "PYTHONPATH": str(Path(neuron_runtime.__file__).parent.parent)}
ROW = {"inputs": [{"name": "input", "shape": [1, 16], "datatype": "FP32", "data": [1] * 16}]}


@pytest.fixture
def full_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system without a free byte, and an empty file on it, as the kubelet makes one."""
    if os.geteuid() != 0:
        pytest.skip("needs root to mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=16k", "tmpfs", str(folder)], check=True)
    try:
        (folder / "termination-log").touch()
        with suppress(OSError), (folder / "ballast").open("wb", buffering=0) as ballast:
            while ballast.write(b"x" * 4096):
                pass
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


@contextmanager
def serving(stderr: int, *flags: str) -> Iterator[RunningServer]:
    """A ready server whose log goes where nothing can be written; hence it cannot tell its port, it is told one."""
    port = free_port()
    process = subprocess.Popen(
        [*COMMAND, "--port", str(port), "--engine", "simulated", "--cores", "1", *flags],
        env=ENVIRONMENT,
        stdout=subprocess.DEVNULL,
        stderr=stderr,
        text=True,
    )
    server = RunningServer(process, url=f"http://127.0.0.1:{port}")
    try:
        wait_until(lambda: is_ready(server))
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(STOP_SECONDS)


def is_ready(server: RunningServer) -> bool:
    assert server.process.poll() is None, "the server has ended"
    try:
        return server.get_status("/v2/health/ready") == 200
    except httpx.ConnectError:
        return False


def serves_on(server: RunningServer) -> None:
    """Through the loss of a worker, which is what it has most to say about, to an orderly end."""
    lost = server.worker_pids()
    os.kill(lost[0], signal.SIGKILL)
    wait_until(lambda: server.metric("neuron_model_worker_restarts_total") == 1)
    wait_until(lambda: is_ready(server))
    with server.client() as client:
        assert client.post("/v2/models/simulated/infer", json=ROW).status_code == 200
    assert server.terminate() == 0


def test_serving_goes_on_while_no_log_can_be_written() -> None:
    with Path("/dev/full").open("wb") as full, serving(full.fileno()) as server:
        serves_on(server)


def test_serving_goes_on_when_nobody_reads_its_log_any_more() -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        with serving(writing) as server:
            serves_on(server)
    finally:
        os.close(writing)


def test_serving_goes_on_and_ends_in_order_while_nobody_reads_its_full_log() -> None:
    reading, writing = os.pipe()
    room = fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, 4096)
    try:
        with serving(writing, "--access-log-ratio", "1") as server:
            with server.client() as client:
                codes = {client.post("/v2/models/simulated/infer", json=ROW).status_code for _ in range(room // 40)}
            assert codes == {200}
            assert server.terminate() == 0
    finally:
        os.close(reading)
        os.close(writing)


def test_an_exit_whose_message_cannot_be_written_is_still_told_in_the_log(full_disk: Path) -> None:
    message = full_disk / "termination-log"
    ended = subprocess.run(
        [*COMMAND, "--engine", "cpu", "--bundle", "/none", "--termination-message-path", str(message)],
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        check=False,
    )

    assert (ended.returncode, message.read_bytes()) == (1, b"")
    assert json.loads(ended.stderr.splitlines()[-1])["reason"] == "ArtifactNotFound"
