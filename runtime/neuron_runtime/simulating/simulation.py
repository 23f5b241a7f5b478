"""The batch policy at work on cores that are only arithmetic: who waited how long, and every decision on the way. Pure.

A discrete-event simulation with its own time: a run of an hour takes as long as its decisions. Cores are serial; a
call that is sent while another runs starts when that one ends, and the front learns of an end `hop_seconds` later.
"""

import heapq
import itertools
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from neuron_runtime.batch_policy import Buckets, Decision, Limits, Take, Wait, decide
from neuron_runtime.rooms import batches_per_worker


@dataclass(frozen=True)
class Arrival:
    """A request: seconds since the start, rows, and the forms that hold it as bits."""

    at: float
    rows: int = 1
    fits: int = 1


@dataclass(frozen=True)
class Device:
    cores: int
    in_flight: int
    hop_seconds: float = 0.0
    """From the front to a core or back."""


@dataclass(slots=True)
class Request:
    """The policy's `Waiting`."""

    number: int
    arrived_at: float
    rows: int
    fits: int
    rows_waiting: int
    started_at: float = 0.0
    answered_at: float = 0.0
    rows_left: int = 0


@dataclass(frozen=True)
class Step:
    """One decision: when, on how many waiting rows, and for a batch its core and the time the core starts it."""

    at: float
    waiting_rows: int
    decision: Decision[Request]
    core: int | None = None
    starts_at: float = 0.0


@dataclass
class Core:
    """One NeuronCore: what it was sent and has not answered, and when it will be free."""

    index: int
    calls: int = 0
    free_at: float = 0.0
    busy_seconds: float = 0.0


@dataclass
class Run:
    """Everything that happened."""

    requests: list[Request] = field(default_factory=list)
    steps: list[Step] = field(default_factory=list)
    cores: list[Core] = field(default_factory=list)
    ended_at: float = 0.0


@dataclass(frozen=True)
class _Done:
    """The front learns that a call has ended."""

    core: Core
    picks: Sequence[tuple[Request, int]]


class _Wake:
    """The time that a decision asked to wait for."""


_Event: TypeAlias = Arrival | _Done | _Wake


class Simulation:
    """One run: `open_loop` with arrivals as given, or `closed_loop` with clients that ask again once answered."""

    def __init__(self, device: Device, buckets: Buckets, limits: Limits) -> None:
        self._device = device
        self._buckets = buckets
        self._limits = limits
        self._queue: deque[Request] = deque()
        self._events: list[tuple[float, int, _Event]] = []
        self._order = itertools.count()
        self._clients_until = 0.0
        self._run = Run(cores=[Core(index) for index in range(device.cores)])

    @property
    def idle(self) -> int:
        return sum(core.calls == 0 for core in self._run.cores)

    @property
    def prefetching(self) -> int:
        return sum(0 < core.calls < batches_per_worker(self._device.in_flight) for core in self._run.cores)

    def open_loop(self, arrivals: Sequence[Arrival]) -> Run:
        for arrival in arrivals:
            self._at(arrival.at, arrival)
        return self._until_over()

    def closed_loop(self, clients: int, seconds: float) -> Run:
        self._clients_until = seconds
        for _ in range(clients):
            self._at(0.0, Arrival(0.0))
        return self._until_over()

    def _until_over(self) -> Run:
        while self._events:
            now = self._events[0][0]
            for event in self._due(now):
                self._happen(now, event)
            self._pump(now)
            self._run.ended_at = now
        return self._run

    def _due(self, now: float) -> Iterator[_Event]:
        while self._events and self._events[0][0] <= now:
            yield heapq.heappop(self._events)[2]

    def _happen(self, now: float, event: _Event) -> None:
        if isinstance(event, Arrival):
            rows = event.rows
            self._limits.arrived(now, rows)
            request = Request(len(self._run.requests), now, rows, event.fits, rows, rows_left=rows)
            self._run.requests.append(request)
            self._queue.append(request)
        elif isinstance(event, _Done):
            event.core.calls -= 1
            for request, rows in event.picks:
                request.rows_left -= rows
                if request.rows_left == 0:
                    request.answered_at = now
                    if now < self._clients_until:
                        self._at(now, Arrival(now))

    def _pump(self, now: float) -> None:
        while True:
            while self._queue and self._queue[0].rows_waiting == 0:
                self._queue.popleft()
            if not self._queue:
                return
            waiting_rows = sum(request.rows_waiting for request in self._queue)
            decision = decide(self._queue, now, self, self._buckets, self._limits)
            if isinstance(decision, Take):
                self._start(now, waiting_rows, decision)
                continue
            self._run.steps.append(Step(now, waiting_rows, decision))
            if isinstance(decision, Wait):
                self._at(max(decision.until, now), _Wake())
            return

    def _start(self, now: float, waiting_rows: int, take: Take[Request]) -> None:
        core = min(self._run.cores, key=lambda core: (core.calls, core.free_at))
        seconds = self._buckets.service_seconds[take.bucket]
        starts_at = max(now + self._device.hop_seconds, core.free_at)
        core.free_at = starts_at + seconds
        core.busy_seconds += seconds
        core.calls += 1
        for request, rows in take.picks:
            if request.rows_waiting == request.rows:
                request.started_at = starts_at
            request.rows_waiting -= rows
        self._run.steps.append(Step(now, waiting_rows, take, core.index, starts_at))
        self._at(core.free_at + self._device.hop_seconds, _Done(core, take.picks))

    def _at(self, when: float, event: _Event) -> None:
        heapq.heappush(self._events, (when, next(self._order), event))
