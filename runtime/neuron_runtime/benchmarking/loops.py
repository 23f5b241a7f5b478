"""The two loops: clients that each wait for their answer, and Poisson arrivals that wait for nobody. Run by `load`."""

import time
from array import array
from collections import deque

from neuron_runtime.benchmarking.connection import Connection
from neuron_runtime.benchmarking.load_run import TIMED_OUT, LoadRun, Options
from neuron_runtime.benchmarking.measurement import FloatArray
from neuron_runtime.benchmarking.targets import Target

OPEN_AT_START = 64
SENDS_IN_A_ROW = 64
PROBE_SECONDS = 0.01
UNCONNECTED = "no connection"


class ClosedLoop(LoadRun):
    """Its lag is how late the loop comes to a timer: as late as to an answer, for want of a CPU or of its own time."""

    def start(self) -> None:
        self._expect_timer()
        for connection in list(self.connections):
            self._send(connection)

    def on_time(self) -> None:
        self.note_lag(self._timer_due)
        self._expect_timer()

    def connected(self, connection: Connection) -> None:
        self._send(connection)

    def answered(self, connection: Connection, status: int) -> None:
        self.record(connection, status)
        self._send(connection)

    def unconnected(self) -> None:
        self.samples.failures.append((time.perf_counter(), UNCONNECTED))

    def wants_connection(self) -> bool:
        return time.perf_counter() < self.stop_at

    def lost(self, connection: Connection) -> None:
        super().lost(connection)
        if self.wants_connection():
            self.open_connection()

    def _expect_timer(self) -> None:
        self._timer_due = time.perf_counter() + PROBE_SECONDS
        self.timer.arm(PROBE_SECONDS)

    def _send(self, connection: Connection) -> None:
        now = time.perf_counter()
        if now < self.stop_at and connection.is_open:
            connection.due = now
            connection.send()


class OpenLoop(LoadRun):
    def __init__(self, target: Target, options: Options, most_connections: int, arrivals: FloatArray) -> None:
        super().__init__(target, options, min(most_connections, OPEN_AT_START))
        self._most_connections = most_connections
        self._arrivals = array("d", arrivals.tobytes())
        self._next = 0
        self._idle: list[Connection] = []
        self._backlog: deque[float] = deque()
        """Due times of requests that wait for a connection."""

    def start(self) -> None:
        self.on_time()

    def connected(self, connection: Connection) -> None:
        self._use(connection)

    def answered(self, connection: Connection, status: int) -> None:
        self.record(connection, status)
        if connection.is_open:
            self._use(connection)

    def unconnected(self) -> None:
        if self._backlog:
            self.samples.failures.append((self._backlog.popleft(), UNCONNECTED))

    def wants_connection(self) -> bool:
        return bool(self._backlog)

    def lost(self, connection: Connection) -> None:
        super().lost(connection)
        if self.wants_connection():
            self.open_connection()

    def is_waiting(self) -> bool:
        return self._next < len(self._arrivals) or bool(self._backlog) or super().is_waiting()

    def sweep(self, oldest: float) -> None:
        super().sweep(oldest)
        while self._next < len(self._arrivals) and (due := self.begin + self._arrivals[self._next]) < oldest:
            self._next += 1
            self.note_lag(due)
            self.samples.failures.append((due, TIMED_OUT))
        while self._backlog and self._backlog[0] < oldest:
            self.samples.failures.append((self._backlog.popleft(), TIMED_OUT))

    def on_time(self) -> None:
        """Everything due by now, and the timer for what is due next."""
        for _ in range(SENDS_IN_A_ROW):
            if self._next == len(self._arrivals):
                return
            due = self.begin + self._arrivals[self._next]
            left = due - time.perf_counter()
            if left > 0:
                break
            self._next += 1
            self._launch(due)
        # Behind, after so many sends: let the loop read answers in between.
        self.timer.arm(left)

    def _launch(self, due: float) -> None:
        self.note_lag(due)
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                self._send(connection, due)
                return
        self._backlog.append(due)
        self.samples.connection_waits.append(due)
        if self.open_or_opening < self._most_connections:
            self.open_connection()

    def _use(self, connection: Connection) -> None:
        if self._backlog:
            self._send(connection, self._backlog.popleft())
        else:
            self._idle.append(connection)

    @staticmethod
    def _send(connection: Connection, due: float) -> None:
        connection.due = due
        connection.send()
