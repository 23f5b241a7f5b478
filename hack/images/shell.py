"""Runs the tools that do the work (buildah, debootstrap, pip, kubectl) and turns their failures into ImageError.

Called by the other modules of this package only. Output is kept back and shown when a command fails.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fcntl import LOCK_EX, flock
from pathlib import Path

from images.errors import ImageError

DEBIAN_PACKAGES = {"buildah": "buildah", "debootstrap": "debootstrap"}
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


def require(*tools: str) -> None:
    """Make sure `tools` are there: installed from Debian when root, otherwise named with the command to run."""
    missing = [tool for tool in tools if shutil.which(tool) is None]
    if not missing:
        return
    packages = [DEBIAN_PACKAGES[tool] for tool in missing]
    advice = f"apt-get install --no-install-recommends {' '.join(packages)}"
    if os.geteuid() != 0 or shutil.which("apt-get") is None:
        raise ImageError(f"building images needs {', '.join(missing)}; as root: {advice}")
    print(f"images: installing {' '.join(packages)}", flush=True)
    run(["apt-get", "update", "-qq"])
    run(
        ["apt-get", "install", "-qq", "--no-install-recommends", *packages],
        env={"DEBIAN_FRONTEND": "noninteractive"},
    )


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold `path` exclusively: two builds at once would write the same cache entries and tags."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as handle:
        flock(handle, LOCK_EX)
        yield
