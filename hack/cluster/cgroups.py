"""The control groups of the cluster's containers: find who is in them, end them, remove the groups.

Containers outlive their shims, so their control groups, named by container id, are the only sure way to find them
all. Works on both layouts: one hierarchy (v2) or one per controller (v1). Called by teardown.
"""

import os
import time
from collections.abc import Collection
from pathlib import Path

from cluster.processes import Identity, read_stat, stop

ROOT = Path("/sys/fs/cgroup")
# containerd's own name for the parent of containers whose kubelet names none.
_PARENT = "k8s.io"


def parents() -> tuple[Path, ...]:
    """Where the containers' groups are made, in every hierarchy; they may not exist."""
    return (ROOT / _PARENT, *(entry / _PARENT for entry in sorted(ROOT.iterdir()) if _is_hierarchy(entry)))


def _is_hierarchy(entry: Path) -> bool:
    return entry.is_dir() and not entry.is_symlink() and entry.is_mount()


def groups(containers: Collection[str]) -> tuple[Path, ...]:
    found = (parent / container for parent in parents() if parent.is_dir() for container in containers)
    return tuple(group for group in found if group.is_dir())


def members(containers: Collection[str]) -> frozenset[Identity]:
    listings = (listing for group in groups(containers) for listing in group.rglob("cgroup.procs"))
    stats = (read_stat(int(pid)) for listing in listings for pid in _read(listing).split())
    return frozenset(stat.identity for stat in stats if stat and stat.is_alive)


def empty(containers: Collection[str], timeout_s: float = 10.0) -> None:
    """Ends every process in the groups. Repeats, since one may fork while another is ended."""
    deadline = time.monotonic() + timeout_s
    while (found := members(containers)) and time.monotonic() < deadline:
        for identity in found:
            stop(identity, grace_s=0)


def remove(containers: Collection[str], timeout_s: float = 5.0) -> None:
    """The deepest first; a group stays busy for a moment after its last process ended."""
    deadline = time.monotonic() + timeout_s
    while (left := groups(containers)) and time.monotonic() < deadline:
        for group in left:
            for folder, _, _ in os.walk(group, topdown=False):
                try:
                    Path(folder).rmdir()
                except OSError:
                    time.sleep(0.02)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
