"""What the person at the keyboard sees while something takes time: one line per finished step, with seconds.

Used by every command; holds no decisions. Lines go to standard error, so that output meant for programs
(`bin`, `kubeconfig`) stays clean.
"""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

_START = time.monotonic()


def say(message: str) -> None:
    print(f"{time.monotonic() - _START:6.1f} s  {message}", file=sys.stderr, flush=True)


@contextmanager
def step(message: str) -> Iterator[None]:
    """Announces the step on a terminal, and says on one line how long it took."""
    started = time.monotonic()
    if sys.stderr.isatty():
        print(f"          {message} …", end="\r", file=sys.stderr, flush=True)
    yield
    say(f"{message} … {time.monotonic() - started:.1f} s")
