"""Exclusive, node-wide ownership of NeuronCores: one locked file per core, released by the kernel at process death.

A process claims its cores once, at its first load, and keeps them for life, as nrt_init does. The file's text says
who owns it; its modification time is the owner's heartbeat, from which a later claimant can tell when a killed
owner died (the "core still busy after SIGKILL" fault needs that; aws-neuron-sdk#1338).
"""

import atexit
import datetime
import fcntl
import json
import os
import threading
from dataclasses import dataclass
from pathlib import Path

from emulated_node.node import Node, read_json
from emulated_node.nrt import initialization_error
from emulated_node.visibility import CoreRequest

_HEARTBEAT_SECONDS = 0.2


@dataclass(frozen=True)
class CoreLock:
    """One owned core: closing the descriptor gives it back."""

    core: int
    descriptor: int

    def sign(self, owner: dict[str, object]) -> None:
        os.ftruncate(self.descriptor, 0)
        os.pwrite(self.descriptor, json.dumps(owner).encode(), 0)


def claim(node: Node, request: CoreRequest, tag: str, linger_seconds: float = 0.0) -> tuple[int, ...]:
    """Own the requested cores until this process ends, or raise with the runtime's "not available" line.

    `linger_seconds`: cores whose last owner died without releasing them stay busy for that long.
    """
    free: list[CoreLock] = []
    for core in request.candidates:
        lock = None if len(free) == request.count else _try_lock(node, core, linger_seconds)
        if lock:
            free.append(lock)
    if len(free) < request.count:
        for lock in free:
            os.close(lock.descriptor)
        line = (
            "NRT:nrt_allocate_neuron_cores               NeuronCore(s) not available - "
            f"Requested:{request} Available:{len(free)}"
        )
        raise initialization_error(1, line)
    owner: dict[str, object] = {"pid": os.getpid(), "pid_namespace": pid_namespace(), "tag": tag, "released": False}
    for lock in free:
        lock.sign(owner)
    _keep(free, owner)
    return tuple(lock.core for lock in free)


def owners(node: Node) -> dict[int, dict[str, object]]:
    """The owner's record of every core that is owned now."""
    found: dict[int, dict[str, object]] = {}
    for core in range(node.facts.core_count):
        path = node.core_file(core)
        if path.exists() and is_locked(path):
            found[core] = _record(path)
    return found


def is_locked(path: Path) -> bool:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    finally:
        os.close(descriptor)
    return False


def pid_namespace() -> int:
    """Tells pods apart: process ids repeat in every pod, namespaces do not."""
    return Path("/proc/self/ns/pid").stat().st_ino


def _record(path: Path) -> dict[str, object]:
    try:
        return dict(read_json(path))
    except ValueError:  # the owner is between claiming the file and signing it
        return {}


def _try_lock(node: Node, core: int, linger_seconds: float) -> CoreLock | None:
    path = node.core_file(core)
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    if os.fstat(descriptor).st_uid == os.geteuid():
        os.fchmod(descriptor, 0o666)
    if linger_seconds and _died_without_releasing(descriptor, linger_seconds):
        os.close(descriptor)
        return None
    return CoreLock(core, descriptor)


def _died_without_releasing(descriptor: int, within_seconds: float) -> bool:
    text = os.pread(descriptor, 65536, 0)
    if not text or json.loads(text).get("released", True):
        return False
    now = datetime.datetime.now(datetime.UTC).timestamp()
    return now - os.fstat(descriptor).st_mtime < within_seconds


def _keep(locks: list[CoreLock], owner: dict[str, object]) -> None:
    done = threading.Event()

    def beat() -> None:
        while not done.wait(_HEARTBEAT_SECONDS):
            for lock in locks:
                os.utime(lock.descriptor)

    def release() -> None:
        done.set()
        thread.join()
        for lock in locks:
            lock.sign(owner | {"released": True})

    thread = threading.Thread(target=beat, name="neuron-core-heartbeat", daemon=True)
    thread.start()
    # The descriptors stay open on purpose: the kernel closes them when the process is gone, not a moment earlier.
    atexit.register(release)
