"""Servers under test as real processes on loopback: started on a free port, waited for, and ended by process id.

Each runs in a session of its own, so that Ctrl-C reaches this program first and everything is ended from here.
"""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.errors import BenchError
from bench.process_tree import Usage, usage_of

ROOT = Path(__file__).parents[2]
HOST = "127.0.0.1"
START_SECONDS, STOP_SECONDS = 180.0, 15.0
_RUNTIME_PORT = re.compile(r'"message":"listening","port":(\d+)')
_WORKERS = re.compile(r'^neuron_model_workers\{state="(\w+)"\} (\S+)', re.MULTILINE)
_ECHO_PORT = re.compile(r"echo listens on (\d+)")


@dataclass(frozen=True)
class Server:
    name: str
    pid: int
    port: int

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    def usage(self) -> Usage:
        return usage_of(self.pid)


@dataclass(frozen=True)
class Program:
    """What to start. The port is either given (`port`) or found in the output (`port_pattern`)."""

    name: str
    command: Sequence[str]
    environment: Mapping[str, str]
    ready_path: str
    port_pattern: re.Pattern[str] | None = None
    port: int = 0


@contextlib.contextmanager
def runtime(*flags: str) -> Iterator[Server]:
    """This repository's runtime with the flags of `neuron-runtime serve`, once all its workers are ready."""
    fixed = ["--host", HOST, "--port", "0", "--drain-seconds", "0", "--termination-message-path", os.devnull]
    command = [sys.executable, "-m", "neuron_runtime", "serve", *fixed, *flags]
    program = Program("neuron-runtime", command, own_environment(), "/v2/health/ready", _RUNTIME_PORT)
    with running(program) as server:
        deadline = time.monotonic() + START_SECONDS
        while not all_workers_ready(get(server.port, "/metrics")[1]):
            if time.monotonic() > deadline:
                raise BenchError(f"not every worker became ready with {' '.join(flags)}")
            time.sleep(0.1)
        yield server


def all_workers_ready(metrics: str) -> bool:
    """Whether some workers are ready and none is in another state."""
    workers = {state: float(count) for state, count in _WORKERS.findall(metrics)}
    return workers.pop("ready", 0.0) > 0 and not any(workers.values())


def echo(service_ms: float | None = None) -> contextlib.AbstractContextManager[Server]:
    """An empty uvicorn ASGI application: what HTTP costs here when nothing is done, or nothing but one device call."""
    command = [sys.executable, "-m", "bench.echo", *([] if service_ms is None else [str(service_ms)])]
    return running(Program("echo", command, own_environment(), "/", _ECHO_PORT))


def own_environment() -> dict[str, str]:
    paths = os.pathsep.join([str(ROOT / "runtime"), str(ROOT / "hack")])
    return {
        "PATH": os.environ["PATH"],
        "HOME": os.environ.get("HOME", "/"),
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": paths,
    }


def free_port() -> int:
    """A port nobody listens on now, for servers that cannot take port 0."""
    with socket.socket() as probe:
        probe.bind((HOST, 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def running(program: Program) -> Iterator[Server]:
    """The server once it answers its ready path with 200; gone, with all its children, at the end."""
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        process = subprocess.Popen(
            program.command,
            env=dict(program.environment),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            yield _answering(program, process, Path(log.name))
        finally:
            end_session(process)


def _answering(program: Program, process: "subprocess.Popen[bytes]", log: Path) -> Server:
    deadline = time.monotonic() + START_SECONDS
    port = program.port
    while time.monotonic() < deadline and process.poll() is None:
        if not port and program.port_pattern and (match := program.port_pattern.search(log.read_text())):
            port = int(match[1])
        if port and get(port, program.ready_path)[0] == http.client.OK:
            return Server(program.name, process.pid, port)
        time.sleep(0.05)
    raise BenchError(f"{program.name} did not become ready; its last words:\n{log.read_text()[-2000:]}")


def get(port: int, path: str) -> tuple[int, str]:
    """Status and body; status 0 when nobody answers."""
    connection = http.client.HTTPConnection(HOST, port, timeout=5)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode(errors="replace")
    except (OSError, http.client.HTTPException):
        return 0, ""
    finally:
        connection.close()


def end_session(process: "subprocess.Popen[Any]") -> None:
    """SIGTERM to the process, SIGKILL to whatever of its session is left. The session is ours: we started it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()
