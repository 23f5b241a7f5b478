"""Usage: python -m bench.limit_process CORES BATCH IN_FLIGHT SERVICE_MS. The runtime's workers without a server.

Starts the same worker processes over the same socket pairs and keeps `IN_FLIGHT` full batches on each: what the device
allows, and the denominator of every share of the limit. Reads `SECONDS` per line on standard input and answers with the
rows per second over that long; between measurements the workers idle.
"""

import contextlib
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import numpy as np

from bench.device import SimulatedDevice, start_message
from neuron_runtime.engines.simulated import INPUT_VALUES
from neuron_runtime.health import WorkerState
from neuron_runtime.messages import FrameReader, Message, Progress, Result, Run, encode

RAMP_SECONDS = 0.3
READ_BYTES = 1 << 16


class BareWorker:
    """One worker process and our end of its socket pair."""

    def __init__(self, device: SimulatedDevice) -> None:
        self.connection, theirs = socket.socketpair()
        with theirs:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "neuron_runtime.worker", str(theirs.fileno()), str(os.getpid())],
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=sys.stderr,
            )
        self._frames = FrameReader()
        self._run = b"".join(encode(Run(1, 0, 1), [np.ones((device.batch_size, INPUT_VALUES), np.float32)]))
        self.connection.sendall(b"".join(encode(start_message(device))))

    def give_batch(self) -> None:
        self.connection.sendall(self._run)

    def messages(self) -> Iterator[Message]:
        """What came over the socket; SystemExit when the worker is gone."""
        data = self.connection.recv(READ_BYTES)
        if not data:
            raise SystemExit("a worker ended")
        return (frame.message for frame in self._frames.feed(data))

    def end(self) -> None:
        self.connection.close()
        self.process.kill()
        self.process.wait()


class Saturation:
    """All the workers, given a new batch for every one that comes back."""

    def __init__(self, device: SimulatedDevice, workers: list[BareWorker]) -> None:
        self._device = device
        self._workers = workers
        self._running = 0
        self._selector = selectors.DefaultSelector()
        for worker in workers:
            self._selector.register(worker.connection, selectors.EVENT_READ, worker)

    def wait_ready(self) -> None:
        missing = len(self._workers)
        while missing:
            for worker in self._readable():
                for message in worker.messages():
                    missing -= isinstance(message, Progress) and message.state == WorkerState.READY

    def rows_per_second(self, seconds: float) -> float:
        """Between the first and the last batch that came back, so that neither edge counts; 0 for fewer than two."""
        for _ in range(self._device.in_flight):
            for worker in self._workers:
                self._give(worker)
        self._answer_until(time.monotonic() + RAMP_SECONDS, refill=True)
        done_at = self._answer_until(time.monotonic() + seconds, refill=True)
        while self._running:
            self._answer_until(time.monotonic() + self._device.service_seconds, refill=False)
        if len(done_at) < 2:
            return 0.0
        return (len(done_at) - 1) * self._device.batch_size / (done_at[-1] - done_at[0])

    def _answer_until(self, moment: float, *, refill: bool) -> list[float]:
        done_at: list[float] = []
        while (left := moment - time.monotonic()) > 0:
            for worker in self._readable(left):
                for message in worker.messages():
                    if isinstance(message, Result):
                        self._running -= 1
                        done_at.append(time.monotonic())
                        if refill:
                            self._give(worker)
        return done_at

    def _give(self, worker: BareWorker) -> None:
        worker.give_batch()
        self._running += 1

    def _readable(self, seconds: float | None = None) -> Iterator[BareWorker]:
        return (key.data for key, _ in self._selector.select(seconds))


def main() -> None:
    cores, batch_size, in_flight = map(int, sys.argv[1:4])
    device = SimulatedDevice(cores, batch_size, in_flight, float(sys.argv[4]))
    with contextlib.ExitStack() as stack:
        workers = [BareWorker(device) for _ in range(cores)]
        for worker in workers:
            stack.callback(worker.end)
        saturation = Saturation(device, workers)
        saturation.wait_ready()
        print("ready", flush=True)
        for line in sys.stdin:
            print(saturation.rows_per_second(float(line)), flush=True)


if __name__ == "__main__":
    main()
    sys.stdout.flush()
    os._exit(0)
