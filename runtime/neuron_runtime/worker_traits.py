"""What a worker asks of the kernel for itself, before it loads anything. Called by `worker`.

A worker that is loading or hangs in a native library cannot see that the front process is gone, and would keep its
core. And when memory runs out, losing a worker costs a few requests; losing the front process costs all of them.
"""

import contextlib
import ctypes
import os
import signal
import sys
from pathlib import Path

_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_OOM_SCORE = Path("/proc/self/oom_score_adj")
_MORE_OOM_SCORE, _MOST_OOM_SCORE = 300, 1000  # thousandths of the memory; proc_pid_oom_score_adj(5)


def die_with(front: int) -> bool:
    """Have the kernel kill this process when `front`, its parent, ends. False when it has ended already."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    return os.getppid() == front


def offer_to_the_oom_killer() -> None:
    """Be a likelier victim than the front process. Where /proc cannot be written, the kernel chooses by size alone."""
    with contextlib.suppress(OSError):
        score = int(_OOM_SCORE.read_text()) + _MORE_OOM_SCORE
        _OOM_SCORE.write_text(str(min(score, _MOST_OOM_SCORE)))
