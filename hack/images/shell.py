"""Runs the tools that do the work (buildah, debootstrap, pip, kubectl) and turns their failures into ImageError.

Called by the other modules of this package only. Output is kept back and shown when a command fails.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

from images.errors import ImageError

SHOWN_LINES = 40


def run(command: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: Path | None = None) -> str:
    """Standard output of `command`; a failure carries the end of what it printed."""
    merged = {**os.environ, **(env or {})}
    try:
        result = subprocess.run(command, capture_output=True, text=True, env=merged, cwd=cwd, check=False)
    except FileNotFoundError as error:
        raise ImageError(f"{command[0]} is not installed") from error
    if result.returncode:
        tail = "\n".join((result.stdout + result.stderr).splitlines()[-SHOWN_LINES:])
        raise ImageError(f"`{' '.join(command[:4])} …` failed with exit code {result.returncode}:\n{tail}")
    return result.stdout


def succeeds(command: Sequence[str]) -> bool:
    """Whether `command` exits with 0; its output is dropped."""
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path` exclusively: two builds at once would write the same cache entries and tags."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        flock(handle, LOCK_EX)
        yield
