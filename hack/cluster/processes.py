"""Long-lived processes: started detached, recorded by process id and start time, stopped by that record alone.

A name is never enough to end a process here, nor an id, since ids are used again: the start time in
/proc/PID/stat tells ours from a stranger. Used by bringup, teardown and the stop/start commands.
"""

import dataclasses
import os
import select
import signal
from collections.abc import Mapping, Sequence
from pathlib import Path

# The child writes its own record before it becomes the program: a kill of the parent at any moment leaves no
# process without a record. Neither the id nor the start time changes over exec.
_RECORD_THEN_EXEC = 'cd / && read -r line < /proc/$$/stat && printf "%s\\n" "$line" > "$0" && exec "$@"'
_ENVIRONMENT = {"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8", "HOME": "/"}


@dataclasses.dataclass(frozen=True)
class Identity:
    """A process for as long as the machine runs: its id, and when it started in clock ticks since boot."""

    pid: int
    started_ticks: int


@dataclasses.dataclass(frozen=True)
class Stat:
    identity: Identity
    state: str

    @property
    def is_alive(self) -> bool:
        return self.state not in "ZX"


def parse_stat(line: str) -> Stat:
    """The program's name sits in parentheses and may hold spaces and parentheses itself, hence the last one counts."""
    pid, _, rest = line.partition(" (")
    fields = rest.rpartition(") ")[2].split()
    return Stat(Identity(int(pid), int(fields[19])), fields[0])


def read_stat(pid: int) -> Stat | None:
    try:
        return parse_stat(Path(f"/proc/{pid}/stat").read_text())
    except (FileNotFoundError, ProcessLookupError):
        return None


def recorded(record: Path) -> Identity | None:
    """The live process a record speaks of, or None: never started, gone, or its id belongs to another one now."""
    try:
        identity = parse_stat(record.read_text()).identity
    except (FileNotFoundError, ValueError, IndexError):
        return None
    current = read_stat(identity.pid)
    return identity if current and current.is_alive and current.identity == identity else None


def start(record: Path, log: Path, command: Sequence[str], environment: Mapping[str, str]) -> None:
    """Starts the command in a session of its own; the record is written by the time the program itself runs."""
    record.parent.mkdir(parents=True, exist_ok=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    os.posix_spawn(
        "/bin/sh",
        ["sh", "-c", _RECORD_THEN_EXEC, str(record), *command],
        {**_ENVIRONMENT, **environment},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDONLY, 0),
            (os.POSIX_SPAWN_OPEN, 1, str(log), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644),
            (os.POSIX_SPAWN_DUP2, 1, 2),
        ],
        setsid=True,
    )


def stop(identity: Identity, *, grace_s: float) -> bool:
    """SIGTERM, then SIGKILL after the grace; True once the process is gone. With no grace, SIGKILL at once."""
    try:
        handle = os.pidfd_open(identity.pid)
    except ProcessLookupError:
        return True
    try:
        current = read_stat(identity.pid)
        if current is None or current.identity != identity:
            return True
        if grace_s > 0:
            _send(handle, signal.SIGTERM)
            if _is_gone(handle, grace_s):
                return True
        _send(handle, signal.SIGKILL)
        return _is_gone(handle, 10.0)
    finally:
        os.close(handle)


def _send(handle: int, number: signal.Signals) -> None:
    try:
        signal.pidfd_send_signal(handle, number)
    except ProcessLookupError:
        return


def _is_gone(handle: int, timeout_s: float) -> bool:
    poller = select.poll()
    poller.register(handle, select.POLLIN)
    return bool(poller.poll(timeout_s * 1000))


def all_pids() -> tuple[int, ...]:
    return tuple(int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit())


def in_mount_namespace(inode: int) -> tuple[int, ...]:
    """Every process whose mount namespace is that one."""
    return tuple(pid for pid in all_pids() if _mount_namespace(pid) == inode)


def _mount_namespace(pid: int) -> int | None:
    try:
        return Path(f"/proc/{pid}/ns/mnt").stat().st_ino
    except OSError:
        return None
