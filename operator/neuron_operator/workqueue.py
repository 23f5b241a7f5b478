"""A coalescing queue of keys: what woke us is forgotten, what must be looked at again is kept once.

Handlers add keys, workers take them; a key is never with two workers at once, and one that is added while it is being
worked on comes back when that worker is done. Namespaces take turns, and what was looked at before goes ahead of what
is new. Lives on one event loop.
"""

import asyncio
import random
from collections.abc import Callable, Hashable, Iterator
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

# (namespace, name)
Key = TypeVar("Key", bound=tuple[str, str])

FIRST_RETRY_S: Final = 0.1
LONGEST_RETRY_S: Final = 60.0
JITTER: Final = 0.5
# Of so many keys in a row at least one is new, if any is waiting: a stream of changes must not hold up first looks.
FIRST_LOOK_EVERY: Final = 4


def backoff_s(attempt: int, chance: float, first_s: float = FIRST_RETRY_S) -> float:
    """Seconds before the `attempt`-th retry (from 1): doubling up to a minute, less up to half of it by `chance`."""
    longest = min(first_s * 2.0 ** min(attempt - 1, 20), LONGEST_RETRY_S)
    return longest * (1 - JITTER * chance)


class Lane(Generic[Key]):
    """Keys in order of arrival within a namespace, the namespaces by turns. Pure.

    A key is overtaken by at most one key of each other namespace for each of its own that came before it.
    """

    def __init__(self) -> None:
        self._namespaces: dict[str, dict[Key, float]] = {}

    def put(self, key: Key, arrived_at: float) -> None:
        self._namespaces.setdefault(key[0], {})[key] = arrived_at

    def pop(self) -> tuple[Key, float]:
        """The first key of the namespace whose turn it is, and when it came; the namespace goes to the end."""
        namespace = next(iter(self._namespaces))
        keys = self._namespaces.pop(namespace)
        key = next(iter(keys))
        arrived_at = keys.pop(key)
        if keys:
            self._namespaces[namespace] = keys
        return key, arrived_at

    def arrivals(self) -> Iterator[float]:
        return (arrived_at for keys in self._namespaces.values() for arrived_at in keys.values())

    def __contains__(self, key: Key) -> bool:
        return key in self._namespaces.get(key[0], {})

    def __len__(self) -> int:
        return sum(map(len, self._namespaces.values()))


class Lanes(Generic[Key]):
    """Keys that were looked at before and new ones, each in a lane of their own. Pure.

    | looked at before | new   | keys since the last new one | the next key is     |
    |------------------|-------|-----------------------------|---------------------|
    | waits            | none  | any                         | looked at before    |
    | none             | waits | any                         | new                 |
    | waits            | waits | fewer than 3                | looked at before    |
    | waits            | waits | 3 or more                   | new                 |
    """

    def __init__(self) -> None:
        self._known, self._new = Lane[Key](), Lane[Key]()
        self._since_new = 0

    def put(self, key: Key, arrived_at: float, *, is_new: bool) -> None:
        (self._new if is_new else self._known).put(key, arrived_at)

    def pop(self) -> tuple[Key, float]:
        is_new = bool(self._new) and (not self._known or self._since_new >= FIRST_LOOK_EVERY - 1)
        self._since_new = 0 if is_new else self._since_new + 1
        return (self._new if is_new else self._known).pop()

    @property
    def has_new(self) -> bool:
        return bool(self._new)

    def arrivals(self) -> Iterator[float]:
        yield from self._known.arrivals()
        yield from self._new.arrivals()

    def __contains__(self, key: Key) -> bool:
        return key in self._known or key in self._new

    def __len__(self) -> int:
        return len(self._known) + len(self._new)


@dataclass
class WorkQueue(Generic[Key]):
    """Keys waiting, keys being worked on, keys to be added later; `is_new` tells a key that nobody looked at yet."""

    is_new: Callable[[Key], bool] = lambda key: False
    chance: random.Random = field(default_factory=random.SystemRandom)
    _waiting: Lanes[Key] = field(default_factory=Lanes)
    # When it came, and when it was taken.
    _busy: dict[Key, tuple[float, float]] = field(default_factory=dict)
    _again: dict[Key, set[Hashable]] = field(default_factory=dict)
    # When each is due is kept beside it: for less than half a millisecond uvloop gives a handle that can't tell.
    _timers: dict[Key, tuple[float, asyncio.Handle]] = field(default_factory=dict)
    _soon: set[Key] = field(default_factory=set)
    _attempts: dict[Key, int] = field(default_factory=dict)
    _held_until: dict[Key, float] = field(default_factory=dict)
    _done_at: float = float("-inf")
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, key: Key, cause: Hashable = None) -> None:
        """To be looked at as soon as a worker is free; added twice is added once."""
        held_s = self._held_until.get(key, 0.0) - _now()
        if key in self._busy:
            self._again.setdefault(key, set()).add(cause)
        elif held_s > 0:
            self.add_after(key, held_s)
        elif key not in self._waiting:
            self._held_until.pop(key, None)
            self._waiting.put(key, _now(), is_new=self.is_new(key))
            self._changed.set()

    def excuse(self, key: Key, cause: Hashable) -> None:
        """Whoever works on the key has caused that itself: for it alone there need not be another look."""
        causes = self._again.get(key, set())
        causes.discard(cause)
        if not causes:
            self._again.pop(key, None)

    def add_after(self, key: Key, delay_s: float) -> None:
        """To be looked at in `delay_s`; of several such requests for a key the earliest counts."""
        loop = asyncio.get_running_loop()
        due, planned = loop.time() + delay_s, self._timers.get(key)
        if planned is not None:
            planned_due, timer = planned
            if planned_due <= due:
                return
            timer.cancel()
        self._timers[key] = due, loop.call_at(due, self._ripen, key)

    def add_soon(self, key: Key, delay_s: float) -> None:
        """To be looked at with whatever else is added until then; counted as waiting meanwhile.

        At once where the last look failed: this may be the newer object that a conflict told of.
        """
        if key in self._attempts:
            self.add(key)
            return
        self._soon.add(key)
        self.add_after(key, delay_s)

    def retry(self, key: Key, at_least_s: float = 0.0, first_s: float = FIRST_RETRY_S) -> float:
        """Back later, ever later as long as it keeps failing, not before `at_least_s`; returns the delay.

        News end a wait of our own choice, which may be about something else, but none that the API server asked for.
        """
        if at_least_s:
            self._held_until[key] = _now() + at_least_s
        self._attempts[key] = self._attempts.get(key, 0) + 1
        delay_s = max(backoff_s(self._attempts[key], self.chance.random(), first_s), at_least_s)
        self.add_after(key, delay_s)
        return delay_s

    def forget(self, key: Key) -> None:
        """The key did well: its next failure starts from the shortest delay."""
        self._attempts.pop(key, None)

    async def take(self) -> Key:
        """The key whose turn it is; the caller must hand it back with `done`."""
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()
        key, arrived_at = self._waiting.pop()
        self._busy[key] = arrived_at, _now()
        self._soon.discard(key)
        if key in self._timers:
            # This look sees it all, and says itself when there is to be another.
            self._timers.pop(key)[1].cancel()
        return key

    def done(self, key: Key) -> None:
        del self._busy[key]
        self._done_at = _now()
        if self._again.pop(key, None):
            self.add(key)

    @property
    def depth(self) -> int:
        return len(self._waiting) + len(self._again) + sum(key not in self._waiting for key in self._soon)

    @property
    def has_new(self) -> bool:
        """Whether a key waits that nobody looked at yet."""
        return self._waiting.has_new

    def oldest_age_s(self) -> float:
        """Since when the oldest key waits or is being worked on; 0 when there is none."""
        arrivals = [*self._waiting.arrivals(), *(arrived_at for arrived_at, _ in self._busy.values())]
        return _now() - min(arrivals) if arrivals else 0.0

    def stuck_s(self) -> float:
        """For how long one key has been worked on, or all that wait have: a long queue that moves is not stuck."""
        busy = [_now() - taken_at for _, taken_at in self._busy.values()]
        waiting = [_now() - max(arrived_at, self._done_at) for arrived_at in self._waiting.arrivals()]
        return max((*busy, *waiting), default=0.0)

    def attempts(self, key: Key) -> int:
        return self._attempts.get(key, 0)

    def close(self) -> None:
        for _, timer in self._timers.values():
            timer.cancel()
        self._timers.clear()
        self._soon.clear()

    def _ripen(self, key: Key) -> None:
        self._timers.pop(key, None)
        self._soon.discard(key)
        self.add(key)


def _now() -> float:
    return asyncio.get_running_loop().time()
