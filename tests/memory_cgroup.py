"""A control group with a memory limit of its own, as the kubelet gives every container one. Needs root."""

import os
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from runtime_server import wait_until

ROOT = Path("/sys/fs/cgroup")
MEGABYTE = 2**20


@dataclass(frozen=True)
class MemoryCgroup:
    folder: Path

    @property
    def prefix(self) -> Sequence[str]:
        """The command that runs another one inside."""
        return ["sh", "-c", 'echo $$ > "$0/cgroup.procs" && exec "$@"', str(self.folder)]

    def processes(self) -> list[int]:
        return [int(pid) for pid in (self.folder / "cgroup.procs").read_text().split()]

    def kill(self) -> None:
        """Everything inside, at once: what the kernel does to a container where memory.oom.group is set."""
        for pid in self.processes():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def _parent() -> Path | None:
    """Where groups with a memory controller are made: version 1's own tree, or version 2's root."""
    controllers = ROOT / "cgroup.subtree_control"
    if (ROOT / "memory").is_dir():
        return ROOT / "memory"
    return ROOT if controllers.exists() and "memory" in controllers.read_text().split() else None


def is_available() -> bool:
    return os.geteuid() == 0 and _parent() is not None


@contextmanager
def memory_cgroup(megabytes: int) -> Iterator[MemoryCgroup]:
    parent = _parent()
    assert parent is not None, "ask is_available first"
    folder = parent / f"neuron-runtime-test-{os.getpid()}"
    folder.mkdir()
    group = MemoryCgroup(folder)
    try:
        version_1 = folder / "memory.limit_in_bytes"
        (version_1 if version_1.exists() else folder / "memory.max").write_text(str(megabytes * MEGABYTE))
        if (folder / "memory.swap.max").exists():
            (folder / "memory.swap.max").write_text("0")
        yield group
    finally:
        group.kill()
        wait_until(lambda: not group.processes())
        folder.rmdir()
