"""Which waiting rows make the next device batch, and whether to wait for more of them. Pure: no clock, no tasks.

`batcher` asks and acts; `simulating` shows the decisions for an arrival trace. Rules, in order:
    1. The oldest request has rows in the next batch, whatever that costs: with n rows waiting ahead of it, a request is
       in one of the next n + 1 batches.
    2. Of the compiled shapes that hold the oldest request, the one with the least device time per row is taken, from
       the buckets' measured service times and the younger requests that would ride along. Ties go to the smaller.
    3. A core that is busy is only given a full batch: a partial one would start no sooner and could still grow.
    4. An idle core takes what there is, except that the last idle one waits for a fuller batch while that pays: when
       the missing rows, at the pace of recent arrivals, come sooner than the device time that a full batch saves, and
       within the window. A lone client's next request comes after its answer, so it never waits.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Generic, Protocol, TypeAlias, TypeVar

from neuron_runtime.buckets import Form

SCAN_LIMIT = 1024
"""How many requests are looked at for one batch, so that a long queue of misfits costs a bounded time."""
GAP_SMOOTHING = 0.1
"""Weight of the newest gap in the mean: the pace of about the last twenty arrivals."""
LONGEST_GAP_SECONDS = 0.05
"""A longer pause counts as this one, so that a quiet night is forgotten within some twenty arrivals."""


class Waiting(Protocol):
    """What the policy sees of a request."""

    @property
    def rows_waiting(self) -> int:
        """Rows not yet in a batch; 0 once the client or the deadline is gone."""

    @property
    def fits(self) -> int:
        """Bit i is set when form i holds its rows."""

    @property
    def arrived_at(self) -> float:
        """Seconds on the clock that `now` is read from."""


class Cores(Protocol):
    """How many workers can be given a batch now."""

    @property
    def idle(self) -> int:
        """Workers with no call on their core."""

    @property
    def prefetching(self) -> int:
        """Workers with a call on their core and room for the next."""


W_co = TypeVar("W_co", bound=Waiting, covariant=True)
W = TypeVar("W", bound=Waiting)


@dataclass
class Buckets:
    """What is compiled. `service_seconds` is the device time of one batch, by the bucket's index, kept up to date."""

    forms: Sequence[Form]
    service_seconds: list[float]


@dataclass
class Limits:
    """`window_seconds` is the longest a request waits for company on an idle core; 0 never waits. `row_gap_seconds` is
    the recent mean time between two rows' arrivals, which `arrived` keeps."""

    window_seconds: float
    row_gap_seconds: float = LONGEST_GAP_SECONDS
    last_arrival: float = -LONGEST_GAP_SECONDS

    def arrived(self, now: float, rows: int) -> None:
        """`rows` have come together at `now`."""
        gap = min(now - self.last_arrival, LONGEST_GAP_SECONDS) / rows
        self.row_gap_seconds += GAP_SMOOTHING * (gap - self.row_gap_seconds)
        self.last_arrival = now


@dataclass(frozen=True, slots=True)
class Take(Generic[W_co]):
    """Run bucket `bucket` (of form `form`) with these requests' next rows, on the least busy worker."""

    bucket: int
    form: int
    picks: Sequence[tuple[W_co, int]]


@dataclass(frozen=True, slots=True)
class Wait:
    """Ask again when a row arrives or a worker has room, and at `until` at the latest."""

    until: float


@dataclass(frozen=True, slots=True)
class Idle:
    """Ask again when a row arrives or a worker has room."""

    reason: str


NOTHING_WAITS = Idle("nothing is waiting")
NO_ROOM = Idle("every core has all the calls it takes")
NOT_FULL = Idle("every core is busy and the next batch is not full")

Decision: TypeAlias = Take[W_co] | Wait | Idle


@dataclass(slots=True)
class _Candidate(Generic[W]):
    """The best batch of one form that starts with the oldest request, and the form's best batch when it is full."""

    bucket: int
    form: int
    rows: int
    seconds_per_row: float
    picks: list[tuple[W, int]]
    full_rows: int
    full_seconds_per_row: float


def decide(queue: Iterable[W], now: float, cores: Cores, buckets: Buckets, limits: Limits) -> Decision[W]:
    """What to do next with `queue`, oldest first."""
    oldest = next((waiting for waiting in queue if waiting.rows_waiting), None)
    if oldest is None:
        return NOTHING_WAITS
    if not cores.idle and not cores.prefetching:
        return NO_ROOM
    best: _Candidate[W] | None = None
    for index, form in enumerate(buckets.forms):
        if oldest.fits >> index & 1:
            candidate = _best_of_form(queue, index, form, buckets.service_seconds)
            if best is None or candidate.seconds_per_row < best.seconds_per_row:
                best = candidate
    assert best is not None, "a request that fits no form is refused before it is queued"
    missing = best.full_rows - best.rows
    if missing > 0:
        if not cores.idle:
            return NOT_FULL
        if cores.idle == 1 and limits.window_seconds:
            saved = (best.seconds_per_row - best.full_seconds_per_row) * best.rows
            until = oldest.arrived_at + min(limits.window_seconds, saved)
            if now + missing * limits.row_gap_seconds <= until:
                return Wait(until)
    return Take(best.bucket, best.form, best.picks)


def decide_alone(suspect: W, buckets: Buckets) -> Take[W]:
    """The next rows of a request that must share its batch with nobody."""
    index = (suspect.fits & -suspect.fits).bit_length() - 1  # forms are ordered by volume: the smallest that holds it
    best = _best_of_form((suspect,), index, buckets.forms[index], buckets.service_seconds)
    return Take(best.bucket, best.form, best.picks)


def _best_of_form(queue: Iterable[W], index: int, form: Form, seconds: Sequence[float]) -> _Candidate[W]:
    picks, available = _fill(queue, index, form.largest_batch_size)
    bucket = rows = full_rows = 0
    cost = full_cost = math.inf
    for batch_size, program in form.programs:
        taken = min(batch_size, available)
        if seconds[program] / taken < cost:
            cost, bucket, rows = seconds[program] / taken, program, taken
        if seconds[program] / batch_size < full_cost:
            full_cost, full_rows = seconds[program] / batch_size, batch_size
    if rows < available:
        picks = _first(picks, rows)
    return _Candidate(bucket, index, rows, cost, picks, full_rows, full_cost)


def _fill(queue: Iterable[W], form: int, room: int) -> tuple[list[tuple[W, int]], int]:
    """Requests that fit the form with their rows, oldest first, up to `room` rows; and how many rows that is."""
    picks: list[tuple[W, int]] = []
    left = room
    for position, waiting in enumerate(queue):
        if left == 0 or position >= SCAN_LIMIT:
            break
        rows = waiting.rows_waiting
        if rows and waiting.fits >> form & 1:
            rows = min(rows, left)
            picks.append((waiting, rows))
            left -= rows
    return picks, room - left


def _first(picks: list[tuple[W, int]], rows: int) -> list[tuple[W, int]]:
    kept: list[tuple[W, int]] = []
    for waiting, count in picks:
        if rows == 0:
            break
        kept.append((waiting, min(count, rows)))
        rows -= kept[-1][1]
    return kept
