"""A timer of the kernel that wakes the event loop with microseconds of lateness; for the open loop in `load`.

Event loops round their own timers up to whole milliseconds, which is longer than many servers take to answer. Python
offers timerfd from 3.13 on; before, the C library is asked.
"""

import asyncio
import ctypes
import os
from collections.abc import Callable

_CLOCK_MONOTONIC = 1
_FLAGS = os.O_NONBLOCK | os.O_CLOEXEC
_SHORTEST_SECONDS = 1e-6


class Timer:
    """Calls `on_time` on the running loop once for each `arm`; `close` when done. OSError where there is no timerfd."""

    def __init__(self, on_time: Callable[[], None]) -> None:
        self._library = ctypes.CDLL(None, use_errno=True)
        self._file = self._library.timerfd_create(_CLOCK_MONOTONIC, _FLAGS)
        if self._file < 0:
            raise OSError(ctypes.get_errno(), "timerfd_create")
        self._setting = (ctypes.c_long * 4)()  # struct itimerspec: interval, then first expiry; seconds and nanoseconds
        self._reference = ctypes.byref(self._setting)
        self._on_time = on_time
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._file, self._fired)

    def arm(self, seconds: float) -> None:
        whole, part = divmod(max(seconds, _SHORTEST_SECONDS), 1)
        self._setting[2] = int(whole)
        self._setting[3] = int(part * 1e9)
        if self._library.timerfd_settime(self._file, 0, self._reference, None) < 0:
            raise OSError(ctypes.get_errno(), "timerfd_settime")

    def _fired(self) -> None:
        os.read(self._file, 8)
        self._on_time()

    def close(self) -> None:
        self._loop.remove_reader(self._file)
        os.close(self._file)
