"""An event loop whose clock only moves when nothing is left to do: hours pass in milliseconds, always the same way."""

import asyncio
import selectors
from collections.abc import Awaitable
from typing import Any, TypeVar

Result = TypeVar("Result")


class _ImpatientSelector(selectors.SelectSelector):
    """Waits for nobody; counts the seconds that it was asked to wait."""

    waited_s = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        assert ready or timeout is not None, "everything waits for something that never comes"
        if not ready:
            self.waited_s += max(0.0, timeout or 0.0)
        return ready


class VirtualLoop(asyncio.SelectorEventLoop):
    """For code that waits on timers and on other tasks alone, not on sockets."""

    def __init__(self) -> None:
        self._impatient = _ImpatientSelector()
        super().__init__(self._impatient)

    def time(self) -> float:
        return self._impatient.waited_s

    def elapse(self, seconds: float) -> None:
        """Let everything run that is due within so many seconds."""
        self.run_until_complete(asyncio.sleep(seconds))

    def finish(self, work: Awaitable[Result]) -> Result:
        """The outcome of the work, however long it takes."""

        async def done() -> Any:
            return await work

        result: Result = self.run_until_complete(done())
        return result
