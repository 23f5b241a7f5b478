"""Which waiting rows make the next device batch. Pure: no clock, no tasks; `batcher` asks and acts.

Rules, in order:
    1. The oldest request decides the form (the smallest compiled shape that holds it); nobody overtakes it.
    2. Younger requests whose rows fit that form ride along until the form's largest batch is full; a request may be
       split over several batches.
    3. The smallest bucket of the form that holds the rows is used.
    4. A core that is already busy is only given a full batch: a partial one would start no sooner and could still grow.
    5. A request whose last batch was lost with its worker runs alone on an idle core, and one such request at a time.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Generic, Protocol, TypeVar

from neuron_runtime.buckets import Form

SCAN_LIMIT = 1024
"""How many requests are looked at for one batch, so that a long queue of misfits costs a bounded time."""


class Slot(Enum):
    """What kind of room a worker has."""

    IDLE = "no call on the core"
    PREFETCH = "one call on the core, room for the next"


class Waiting(Protocol):
    """What the policy sees of a request."""

    @property
    def rows_waiting(self) -> int:
        """Rows not yet in a batch; 0 once the client or the deadline is gone."""

    @property
    def fits(self) -> int:
        """Bit i is set when form i holds its rows."""

    @property
    def is_suspect(self) -> bool:
        """Its last batch was lost, so it must run alone."""


W_co = TypeVar("W_co", bound=Waiting, covariant=True)
W = TypeVar("W", bound=Waiting)


@dataclass(frozen=True)
class Take(Generic[W_co]):
    """Run bucket `bucket` (of form `form`) with these requests' next rows."""

    bucket: int
    form: int
    picks: tuple[tuple[W_co, int], ...]


@dataclass(frozen=True)
class Idle:
    reason: str


def decide(queue: Iterable[W], forms: Sequence[Form], slot: Slot, *, suspect_running: bool) -> Take[W] | Idle:
    """The next batch for a worker with `slot`, from `queue`, oldest first."""
    picks: list[tuple[W, int]] = []
    form = -1
    room = 0
    for position, waiting in enumerate(queue):
        if position >= SCAN_LIMIT or (picks and room == 0):
            break
        if waiting.rows_waiting == 0:
            continue
        if waiting.is_suspect:
            if picks or suspect_running or slot is Slot.PREFETCH:
                continue
            form = _smallest_form(waiting)
            rows = min(waiting.rows_waiting, forms[form].largest_batch_size)
            return Take(forms[form].smallest_bucket(rows), form, ((waiting, rows),))
        if form < 0:
            form = _smallest_form(waiting)
            room = forms[form].largest_batch_size
        if waiting.fits >> form & 1:
            rows = min(waiting.rows_waiting, room)
            picks.append((waiting, rows))
            room -= rows
    if not picks:
        return Idle("nothing is waiting that this worker may run")
    if slot is Slot.PREFETCH and room:
        return Idle("the core is busy and the next batch is not full")
    taken = sum(rows for _, rows in picks)
    return Take(forms[form].smallest_bucket(taken), form, tuple(picks))


def _smallest_form(waiting: Waiting) -> int:
    """Index of the lowest set bit: forms are ordered by volume."""
    return (waiting.fits & -waiting.fits).bit_length() - 1
