"""The gate that the workers start through: open while this process may write, and never longer than it was told.

`elector.py` opens it for as long as its hold on the lease lasts; without an elector it stays open. `ensure_open`, right
before each write, looks at the clock itself: a process that slept in between writes nothing, although no one closed it.
"""

import asyncio
import math
import time
from collections.abc import Callable
from typing import Final

from neuron_operator.errors import LeadershipLostError

# A lease runs out while the machine is suspended too, but CLOCK_MONOTONIC, which asyncio goes by, stops then; SIGSTOP
# stops neither. macOS has no CLOCK_BOOTTIME, and counts its sleep in CLOCK_MONOTONIC. A guest paused by its hypervisor
# may see neither clock move: what it sends afterwards loses by the resourceVersion it was decided on.
CLOCK: Final[int] = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def uptime_s() -> float:
    """Seconds on a clock that never steps and that counts the time for which the machine was suspended."""
    return time.clock_gettime(CLOCK)


class Gate:
    """Closed at first."""

    def __init__(self, clock: Callable[[], float] = uptime_s) -> None:
        self.clock = clock
        self._opened = asyncio.Event()
        self._since_s = self._until_s = 0.0

    @property
    def is_open(self) -> bool:
        # Whoever finds the time over closes it, or a worker would run through the gate in circles until someone does.
        if self.clock() >= self._until_s:
            self.close()
        return self._opened.is_set()

    def open(self, until_s: float = math.inf) -> None:
        """Open, or stay so, until that moment of the gate's clock."""
        if not self.is_open:
            self._since_s = self.clock()
        self._until_s = until_s
        self._opened.set()

    def close(self) -> None:
        self._opened.clear()

    def open_for_s(self) -> float:
        """Since when it is open without a break; 0 while it is closed."""
        return self.clock() - self._since_s if self.is_open else 0.0

    async def wait_until_open(self) -> None:
        while not self.is_open:
            await self._opened.wait()

    def ensure_open(self) -> None:
        """Raises LeadershipLostError where writing is not ours any more."""
        if not self.is_open:
            raise LeadershipLostError("another replica leads now")
