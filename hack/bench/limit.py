"""The limit as the figures use it: a process of workers without a server, asked for its rows per second in each run."""

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

from bench.device import SimulatedDevice
from bench.errors import BenchError
from bench.servers import end_session, own_environment


class Limit:
    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def rows_per_second(self, seconds: float) -> float:
        assert self._process.stdin is not None, "started with a pipe"
        self._process.stdin.write(f"{seconds}\n")
        self._process.stdin.flush()
        return float(self.answer())

    def answer(self) -> str:
        assert self._process.stdout is not None, "started with a pipe"
        line = self._process.stdout.readline()
        if not line:
            raise BenchError("the workers without a server ended; run python -m bench.limit_process to see why")
        return line.strip()


@contextmanager
def limit(device: SimulatedDevice) -> Iterator[Limit]:
    """The device's workers, ready and idle."""
    process = subprocess.Popen(
        [sys.executable, "-m", "bench.limit_process", *device.arguments],
        env=own_environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    try:
        found = Limit(process)
        found.answer()
        yield found
    finally:
        assert process.stdin is not None, "started with a pipe"
        process.stdin.close()
        end_session(process)
        assert process.stdout is not None, "started with a pipe"
        process.stdout.close()
