"""The gate that the workers start through: open while this process may write.

A single replica opens it at start. An elector would open it when it wins the lease and close it before the lease runs
out; `ensure_open` right before a write is what keeps a process that was suspended from writing later.
"""

import asyncio

from neuron_operator.errors import LeadershipLostError


class Gate:
    """Closed at first."""

    def __init__(self) -> None:
        self._opened = asyncio.Event()

    @property
    def is_open(self) -> bool:
        return self._opened.is_set()

    def open(self) -> None:
        self._opened.set()

    def close(self) -> None:
        self._opened.clear()

    async def wait_until_open(self) -> None:
        await self._opened.wait()

    def ensure_open(self) -> None:
        """Raises LeadershipLostError where writing is not ours any more."""
        if not self.is_open:
            raise LeadershipLostError("another replica leads now")
