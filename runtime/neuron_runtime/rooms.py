"""Which workers can take a batch now, by how busy they are; every question costs the same with 2 workers or 24. Pure.

The batcher keeps it up to date. A held worker takes nothing new: it ends what it has, and then runs one suspect alone.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

R = TypeVar("R", bound=Hashable)


def batches_per_worker(in_flight: int) -> int:
    """How many batches a worker holds whose core takes `in_flight` calls at a time.

    Never only the one that runs: the next one is there when that ends, or the core would idle on the way to the front
    and back. Since a busy worker is only given full batches, nobody is worse off for it.
    """
    return max(2, in_flight)


class Rooms(Generic[R]):
    """`calls_per_room` is how many batches one worker holds at a time: one runs, the others wait behind it."""

    def __init__(self, calls_per_room: int) -> None:
        self._by_calls: list[dict[R, None]] = [{} for _ in range(calls_per_room + 1)]
        self._calls: dict[R, int] = {}
        self._held: set[R] = set()

    @property
    def idle(self) -> int:
        return len(self._by_calls[0])

    @property
    def prefetching(self) -> int:
        return sum(map(len, self._by_calls[1:-1]))

    def __len__(self) -> int:
        return len(self._calls)

    def add(self, room: R) -> None:
        """A worker that has just become ready."""
        self._calls[room] = 0
        self._by_calls[0][room] = None

    def remove(self, room: R) -> None:
        """The worker is gone; nothing happens when it was never here."""
        self._take_out(room)
        self._calls.pop(room, None)
        self._held.discard(room)

    def least_busy(self) -> R | None:
        """The worker that has been idle longest, else one with the fewest calls; None when nobody has room."""
        for rooms in self._by_calls[:-1]:
            for room in rooms:
                return room
        return None

    def least_busy_of_all(self) -> R | None:
        """The same, workers without room included."""
        return min(
            (room for rooms in self._by_calls for room in rooms), key=lambda room: self._calls[room], default=None
        )

    def started(self, room: R) -> None:
        """The worker was given one batch more."""
        self._change(room, 1)

    def finished(self, room: R) -> None:
        """The worker has one batch less; nothing happens when it is gone."""
        self._change(room, -1)

    def hold(self, room: R) -> None:
        self._take_out(room)
        self._held.add(room)

    def release(self, room: R) -> None:
        if room in self._held:
            self._held.discard(room)
            self._by_calls[self._calls[room]][room] = None

    def calls_of(self, room: R) -> int | None:
        """How many batches it has; None when it is gone."""
        return self._calls.get(room)

    def _change(self, room: R, calls: int) -> None:
        if room not in self._calls:
            return
        self._take_out(room)
        self._calls[room] += calls
        if room not in self._held:
            self._by_calls[self._calls[room]][room] = None

    def _take_out(self, room: R) -> None:
        if room in self._calls:
            self._by_calls[self._calls[room]].pop(room, None)
