"""A coalescing queue of keys: what woke us is forgotten, what must be looked at again is kept once.

Handlers add keys, workers take them; a key is never with two workers at once, and one that is added while it is being
worked on comes back when that worker is done. Knows nothing about Kubernetes; lives on one event loop.
"""

import asyncio
import random
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Final, Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)

FIRST_RETRY_S: Final = 0.1
LONGEST_RETRY_S: Final = 60.0
JITTER: Final = 0.5


def backoff_s(attempt: int, chance: float) -> float:
    """Seconds before the `attempt`-th retry (from 1): doubling up to a minute, less up to half of it by `chance`."""
    longest = min(FIRST_RETRY_S * 2.0 ** min(attempt - 1, 20), LONGEST_RETRY_S)
    return longest * (1 - JITTER * chance)


@dataclass
class WorkQueue(Generic[Key]):
    """Keys waiting (in order of arrival), keys being worked on, keys to be added later."""

    chance: random.Random = field(default_factory=random.SystemRandom)
    _waiting: dict[Key, float] = field(default_factory=dict)
    _busy: dict[Key, float] = field(default_factory=dict)
    _again: set[Key] = field(default_factory=set)
    _timers: dict[Key, asyncio.TimerHandle] = field(default_factory=dict)
    _attempts: dict[Key, int] = field(default_factory=dict)
    _changed: asyncio.Event = field(default_factory=asyncio.Event)

    def add(self, key: Key) -> None:
        """To be looked at as soon as a worker is free; added twice is added once."""
        if key in self._busy:
            self._again.add(key)
        elif key not in self._waiting:
            self._waiting[key] = _now()
            self._changed.set()

    def add_after(self, key: Key, delay_s: float) -> None:
        """To be looked at in `delay_s`; of several such requests for a key the earliest counts."""
        loop = asyncio.get_running_loop()
        due, planned = loop.time() + delay_s, self._timers.get(key)
        if planned is not None:
            if planned.when() <= due:
                return
            planned.cancel()
        self._timers[key] = loop.call_at(due, self._ripen, key)

    def retry(self, key: Key, at_least_s: float = 0.0) -> float:
        """Back later, ever later as long as it keeps failing; returns the delay."""
        self._attempts[key] = self._attempts.get(key, 0) + 1
        delay_s = max(backoff_s(self._attempts[key], self.chance.random()), at_least_s)
        self.add_after(key, delay_s)
        return delay_s

    def forget(self, key: Key) -> None:
        """The key did well: its next failure starts from the shortest delay."""
        self._attempts.pop(key, None)

    async def take(self) -> Key:
        """The key that has waited longest; the caller must hand it back with `done`."""
        while not self._waiting:
            self._changed.clear()
            await self._changed.wait()
        key = next(iter(self._waiting))
        self._busy[key] = self._waiting.pop(key)
        return key

    def done(self, key: Key) -> None:
        del self._busy[key]
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    @property
    def depth(self) -> int:
        return len(self._waiting) + len(self._again)

    def oldest_age_s(self) -> float:
        """Since when the oldest key waits or is being worked on; 0 when there is none."""
        arrivals = [*self._waiting.values(), *self._busy.values()]
        return _now() - min(arrivals) if arrivals else 0.0

    def attempts(self, key: Key) -> int:
        return self._attempts.get(key, 0)

    def close(self) -> None:
        for timer in self._timers.values():
            timer.cancel()
        self._timers.clear()

    def _ripen(self, key: Key) -> None:
        self._timers.pop(key, None)
        self.add(key)


def _now() -> float:
    return asyncio.get_running_loop().time()
