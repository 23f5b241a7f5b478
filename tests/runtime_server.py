"""`neuron-runtime serve` as a real subprocess, for the integration tests: start, wait, ask, stop."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import httpx

import neuron_runtime

START_SECONDS = 180.0
STOP_SECONDS = 60.0


@dataclass
class RunningServer:
    process: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)
    url: str = ""

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=120, trust_env=False, verify=False)

    def wait_for_line(self, pattern: str, seconds: float = START_SECONDS) -> re.Match[str]:
        """The first log line that matches; the process's own end or the deadline fails the test with what it said."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            for line in list(self.lines):
                if match := re.search(pattern, line):
                    return match
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        raise AssertionError(f"no line matches {pattern!r}:\n" + "\n".join(self.lines[-20:]))

    def wait_ready(self) -> None:
        wait_until(lambda: self.get_status("/v2/health/ready") == 200, START_SECONDS)

    def get_status(self, path: str) -> int:
        with self.client() as client:
            return client.get(path).status_code

    def worker_pids(self) -> list[int]:
        listed = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in listed.split()]

    def terminate(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_SECONDS)

    def metric(self, name: str) -> float:
        """The sum over all series of a metric."""
        with self.client() as client:
            text = client.get("/metrics").text
        return sum(float(line.rsplit(" ", 1)[1]) for line in text.splitlines() if re.match(rf"{name}[ {{]", line))


def wait_until(condition: Callable[[], bool], seconds: float = START_SECONDS) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition did not come true in time"
        time.sleep(0.02)


@contextmanager
def started(
    *flags: str, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> Iterator[RunningServer]:
    """A server that listens (not necessarily ready); killed at the end if it still runs. `prefix` is a command that
    runs it, by exec. What a killed one leaves in its temporary folder goes with that."""
    with tempfile.TemporaryDirectory() as folder:
        own = {"PATH": os.environ["PATH"], "OMP_NUM_THREADS": "1", "TMPDIR": folder}
        with _listening(flags, {**own, **(environment or {})}, prefix) as server:
            yield server


@contextmanager
def _listening(flags: Sequence[str], variables: dict[str, str], prefix: Sequence[str]) -> Iterator[RunningServer]:
    runtime = str(Path(neuron_runtime.__file__).parent.parent)
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [variables.get("PYTHONPATH"), runtime]))
    process = subprocess.Popen(
        [*prefix, sys.executable, "-m", "neuron_runtime", "serve", "--host", "127.0.0.1", "--port", "0", *flags],
        env=variables,
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )
    server = RunningServer(process)
    reader = threading.Thread(target=_collect, args=(process, server.lines), daemon=True)
    reader.start()
    try:
        port = server.wait_for_line(r'"message":"listening","port":(\d+)')[1]
        server.url = f"http://127.0.0.1:{port}"
        yield server
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(STOP_SECONDS)
        reader.join(STOP_SECONDS)
        assert process.stderr is not None, "started with a pipe"
        process.stderr.close()


@contextmanager
def ready(
    *flags: str, environment: Mapping[str, str] | None = None, prefix: Sequence[str] = ()
) -> Iterator[RunningServer]:
    with started(*flags, environment=environment, prefix=prefix) as server:
        server.wait_ready()
        yield server


def _collect(process: "subprocess.Popen[str]", lines: list[str]) -> None:
    assert process.stderr is not None, "started with a pipe"
    lines.extend(line.rstrip() for line in process.stderr)
