"""The course of one load: connections opened, warm-up, the measured window, the wait for late answers, timeouts.

`loops` says what is sent when. Nothing here waits without a limit: connecting, answers and the end all have one.
"""

import asyncio
import socket
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

from neuron_runtime.benchmarking.connection import Connection, connect
from neuron_runtime.benchmarking.measurement import Load, Measurement, Samples, Window, summarize
from neuron_runtime.benchmarking.targets import Target, TargetError
from neuron_runtime.benchmarking.timer import Timer

CONNECTING_AT_ONCE = 64
CONNECT_SECONDS = 10.0
RECONNECT_SECONDS = 0.05
SWEEP_SECONDS = 0.1
TIMED_OUT = "timeout"

Progress = Callable[[float, int], None]
"""Called several times a second with the seconds since the load began and the answers so far."""


@dataclass(frozen=True)
class Options:
    """A request without an answer after `timeout_seconds` counts as failed."""

    timeout_seconds: float = 30.0
    progress: Progress | None = None


class LoadRun(ABC):
    """What both loops share: connections, samples, timeouts, and the course of one run."""

    def __init__(self, target: Target, options: Options, connections_at_start: int) -> None:
        self.samples = Samples()
        self.connections: set[Connection] = set()
        self.begin = self.stop_at = 0.0
        self._target = target
        self._options = options
        self._connections_at_start = connections_at_start
        self._connecting: set[asyncio.Task[None]] = set()
        self.timer = Timer(self.on_time)
        self._gone = asyncio.Event()
        """Set when no connection is left, and waited for at the end only."""
        self._places = asyncio.Semaphore(CONNECTING_AT_ONCE)

    async def run(self, load: Load, warmup_seconds: float, seconds: float) -> Measurement:
        try:
            await self._open_first()
            self.begin = time.perf_counter()
            self.stop_at = self.begin + warmup_seconds + seconds
            self.start()
            await self._until(self.begin + warmup_seconds)
            measured_from, used_before = time.perf_counter(), time.thread_time()
            await self._until(self.stop_at)
            share = (time.thread_time() - used_before) / (time.perf_counter() - measured_from)
            window = Window(self.stop_at - seconds, self.stop_at)
            await self._drain()
        finally:
            await self._close()
        return summarize(self.samples, window, load, min(share, 1.0))

    @abstractmethod
    def start(self) -> None:
        """Send the first requests."""

    @abstractmethod
    def on_time(self) -> None:
        """The timer that was armed has fired."""

    @abstractmethod
    def connected(self, connection: Connection) -> None:
        """Use a new connection."""

    @abstractmethod
    def answered(self, connection: Connection, status: int) -> None:
        """Record the answer and go on."""

    @abstractmethod
    def unconnected(self) -> None:
        """The server did not take a connection."""

    @abstractmethod
    def wants_connection(self) -> bool:
        """Whether one more connection would be used now."""

    def lost(self, connection: Connection) -> None:
        self.connections.discard(connection)
        if not self.connections:
            self._gone.set()
        if connection.is_busy:
            connection.is_busy = False
            self.samples.failures.append((connection.due, connection.failure))

    def record(self, connection: Connection, status: int) -> None:
        samples = self.samples
        samples.due.append(connection.due)
        samples.done.append(connection.received_at)
        samples.codes.append(status)

    def note_lag(self, due: float) -> None:
        """The generator comes only now to what it should have done at `due`."""
        self.samples.launched.append(due)
        self.samples.lag.append(time.perf_counter() - due)

    def open_connection(self) -> None:
        task = asyncio.get_running_loop().create_task(self._connect())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    @property
    def open_or_opening(self) -> int:
        return len(self.connections) + len(self._connecting)

    def is_waiting(self) -> bool:
        """Whether a request is without its answer."""
        return any(connection.is_busy for connection in self.connections)

    def sweep(self, oldest: float) -> None:
        """Give up what was due before `oldest`."""
        for connection in [each for each in self.connections if each.is_busy and each.due < oldest]:
            connection.abort(TIMED_OUT)

    async def _open_first(self) -> None:
        """TargetError when the server takes no connection at all."""
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(self._target.host, self._target.port, type=socket.SOCK_STREAM)
        except socket.gaierror as error:
            raise TargetError(f"{self._target.host} cannot be resolved: {error.strerror}.") from None
        self._address = (found[0][0], found[0][4])
        for _ in range(self._connections_at_start):
            self.open_connection()
        await asyncio.gather(*self._connecting)
        if not self.connections:
            raise TargetError(
                f"{self._target.title}: the server takes no connection. Is it running, and the address right?"
            )

    async def _connect(self) -> None:
        while True:
            try:
                async with self._places, asyncio.timeout(CONNECT_SECONDS):
                    connection = await connect(self, self._target.request, self._address)
                break
            except OSError:
                self.unconnected()
            await asyncio.sleep(RECONNECT_SECONDS)
            if not self.wants_connection():
                return
        self.connections.add(connection)
        self.connected(connection)

    async def _until(self, moment: float) -> None:
        while (left := moment - time.perf_counter()) > 0:
            await asyncio.sleep(min(left, SWEEP_SECONDS))
            self.sweep(time.perf_counter() - self._options.timeout_seconds)
            if self._options.progress is not None:
                self._options.progress(time.perf_counter() - self.begin, len(self.samples.done))

    async def _drain(self) -> None:
        """Wait for the answers to what was due; a server that answers nothing costs the timeout."""
        while self.is_waiting():
            await asyncio.sleep(SWEEP_SECONDS / 10)
            self.sweep(time.perf_counter() - self._options.timeout_seconds)

    async def _close(self) -> None:
        self.stop_at = 0.0
        self.timer.close()
        self._gone.clear()
        for task in self._connecting:
            task.cancel()
        await asyncio.gather(*self._connecting, return_exceptions=True)
        for connection in self.connections:
            connection.close()
        if not self.connections:
            self._gone.set()
        await self._gone.wait()
