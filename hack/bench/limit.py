"""The limit as the figures use it: a process of workers without a server, asked for its rows per second in each run."""

import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from bench.device import SimulatedDevice
from bench.errors import BenchError
from bench.servers import end_session, own_environment


class Limit:
    def __init__(self, process: "subprocess.Popen[str]", log: Path) -> None:
        self._process = process
        self._log = log

    def rows_per_second(self, seconds: float) -> float:
        assert self._process.stdin is not None, "started with a pipe"
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return float(self.answer())

    def answer(self) -> str:
        assert self._process.stdout is not None, "started with a pipe"
        line = self._process.stdout.readline()
        if not line:
            raise BenchError(f"the workers without a server ended; their last words:\n{self._log.read_text()[-1000:]}")
        return line.strip()


@contextmanager
def limit(device: SimulatedDevice) -> Iterator[Limit]:
    """The device's workers, ready and idle."""
    with tempfile.NamedTemporaryFile("w+", suffix=".log") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "bench.limit_process", *device.arguments],
            env=own_environment(),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            start_new_session=True,
        )
        assert process.stdin is not None, "started with a pipe"
        assert process.stdout is not None, "started with a pipe"
        with process.stdin, process.stdout:
            try:
                found = Limit(process, Path(log.name))
                found.answer()
                yield found
            finally:
                end_session(process)
