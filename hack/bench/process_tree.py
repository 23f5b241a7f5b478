"""CPU time and memory of a server with all its children, from /proc. Used around a run, never during it."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable

import psutil


@dataclasses.dataclass(frozen=True)
class Usage:
    cpu_seconds: float
    front_rss_bytes: int
    tree_rss_bytes: int


def usage_of(pid: int) -> Usage:
    """User and system time since each process's start; resident memory of the first process and of all together."""
    front = psutil.Process(pid)
    cpu_seconds, tree_rss = 0.0, 0
    for process in [front, *front.children(recursive=True)]:
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            cpu_seconds += times.user + times.system
            tree_rss += process.memory_info().rss
    return Usage(cpu_seconds, front.memory_info().rss, tree_rss)


def busy_seconds() -> float:
    """CPU time the whole machine has spent on anything but idling."""
    times = psutil.cpu_times()
    return sum(times) - times.idle - times.iowait


def stolen_seconds() -> float:
    """CPU time that the hypervisor gave to others while something here wanted to run; 0 where nothing tells."""
    return float(getattr(psutil.cpu_times(), "steal", 0.0))


class StolenShare:
    """What the hypervisor gave to others since this was made, of the time of all CPUs."""

    def __init__(self, stolen: Callable[[], float] = stolen_seconds) -> None:
        self._stolen, self._before, self._began = stolen, stolen(), time.monotonic()

    def until_now(self) -> float:
        seconds = time.monotonic() - self._began
        return (self._stolen() - self._before) / seconds / (os.cpu_count() or 1)
