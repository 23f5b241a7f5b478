"""What each process ran, as one memory-mapped file per process: written by the stand-in, read by neuron-monitor.

Totals since the process started; a reader takes differences between two readings. Device and total latencies of
the last executions are in a ring, for percentiles. The file is locked by its writer, so a reader knows who lives.
"""

import contextlib
import fcntl
import json
import mmap
import os
import struct
import threading
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from emulated_node.claims import is_locked, pid_namespace
from emulated_node.node import Node, write_atomically

ERRORS = ("generic", "numerical", "transient", "model", "runtime", "hardware")
STATUSES = (
    "completed",
    "completed_with_err",
    "completed_with_num_err",
    "timed_out",
    "incorrect_input",
    "failed_to_queue",
)
_EVENTS = STATUSES + ERRORS
RING_CAPACITY = 8192
_CORE = struct.Struct("<Qdd")  # core id, busy seconds, floating-point operations done
_EVENT = struct.Struct("<Q")
_LATENCY = struct.Struct("<dd")


@dataclass(frozen=True)
class Layout:
    """Where things are in the file of a process with so many cores."""

    core_count: int

    @property
    def events_at(self) -> int:
        return self.core_count * _CORE.size

    @property
    def written_at(self) -> int:
        return self.events_at + len(_EVENTS) * _EVENT.size

    @property
    def ring_at(self) -> int:
        return self.written_at + _EVENT.size

    @property
    def size(self) -> int:
        return self.ring_at + RING_CAPACITY * _LATENCY.size


@dataclass(frozen=True)
class Execution:
    """One finished execution; `status` is a key of execution_summary, `error` of error_summary or None."""

    core: int
    device_seconds: float
    total_seconds: float
    operations: float = 0.0
    status: str = "completed"
    error: str | None = None


@dataclass(frozen=True)
class LoadedProgram:
    """What neuron-monitor lists under loaded_models."""

    name: str
    uuid: str
    model_id: int
    cores: tuple[int, ...]
    device_bytes: int
    host_bytes: int


class CounterFile:
    """The writer's side: one per process, made when it claims its cores."""

    def __init__(self, node: Node, tag: str, cores: Sequence[int]) -> None:
        remove_dead(node)
        self._layout = Layout(len(cores))
        self._rows = {core: row for row, core in enumerate(cores)}
        self._lock = threading.RLock()  # an unload may come from the garbage collector, inside any call
        self._programs: dict[int, LoadedProgram] = {}
        stem = node.directory / "processes" / uuid.uuid4().hex
        self._description = {
            "pid": os.getpid(),
            "pid_namespace": pid_namespace(),
            "tag": tag,
            "cores": list(cores),
            "command": Path("/proc/self/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip(),
        }
        self._description_path = stem.with_suffix(".json")
        self._describe()
        self._map = self._open(stem.with_suffix(".counters"))
        for core, row in self._rows.items():
            _CORE.pack_into(self._map, row * _CORE.size, core, 0.0, 0.0)

    def record(self, execution: Execution) -> None:
        with self._lock:
            at = self._rows[execution.core] * _CORE.size
            core, busy, operations = _CORE.unpack_from(self._map, at)
            _CORE.pack_into(self._map, at, core, busy + execution.device_seconds, operations + execution.operations)
            self._add(execution.status)
            if execution.error:
                self._add(execution.error)
            if execution.status == "completed":
                self._add_latency(execution)

    def loaded(self, program: LoadedProgram) -> None:
        with self._lock:
            self._programs[program.model_id] = program
            self._describe()

    def unloaded(self, model_id: int) -> None:
        with self._lock:
            self._programs.pop(model_id, None)
            self._describe()

    def _add(self, event: str) -> None:
        at = self._layout.events_at + _EVENTS.index(event) * _EVENT.size
        (count,) = _EVENT.unpack_from(self._map, at)
        _EVENT.pack_into(self._map, at, count + 1)

    def _add_latency(self, execution: Execution) -> None:
        (written,) = _EVENT.unpack_from(self._map, self._layout.written_at)
        slot = self._layout.ring_at + written % RING_CAPACITY * _LATENCY.size
        _LATENCY.pack_into(self._map, slot, execution.total_seconds, execution.device_seconds)
        _EVENT.pack_into(self._map, self._layout.written_at, written + 1)

    def _describe(self) -> None:
        programs = [vars(program) for program in self._programs.values()]
        write_atomically(self._description_path, json.dumps(self._description | {"programs": programs}))

    def _open(self, path: Path) -> mmap.mmap:
        # Locked before it has its name: a reader that finds it unlocked may take its owner for dead.
        hidden = path.with_name(f".{path.name}")
        descriptor = os.open(hidden, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o644)
        os.fchmod(descriptor, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        os.ftruncate(descriptor, self._layout.size)
        hidden.rename(path)
        return mmap.mmap(descriptor, self._layout.size)


@dataclass(frozen=True)
class Reading:
    """One process's totals at one moment; `since` gives what happened after an earlier reading."""

    process_id: str
    pid: int
    pid_namespace: int
    tag: str
    command: str
    programs: tuple[LoadedProgram, ...]
    busy_seconds: dict[int, float]
    operations: dict[int, float]
    events: dict[str, int]
    latencies_written: int
    latencies: tuple[tuple[float, float], ...] = field(repr=False)

    def since(self, earlier: "Reading | None") -> "Reading":
        if earlier is None:
            return self
        fresh = min(self.latencies_written - earlier.latencies_written, RING_CAPACITY)
        return Reading(
            self.process_id,
            self.pid,
            self.pid_namespace,
            self.tag,
            self.command,
            self.programs,
            {core: busy - earlier.busy_seconds[core] for core, busy in self.busy_seconds.items()},
            {core: done - earlier.operations[core] for core, done in self.operations.items()},
            {event: count - earlier.events[event] for event, count in self.events.items()},
            fresh,
            self.latencies[len(self.latencies) - fresh :] if fresh else (),
        )


def read_processes(node: Node) -> Iterator[Reading]:
    """Every living process of the node that owns cores."""
    for path in sorted((node.directory / "processes").glob("*.counters")):
        # It may end at any moment, and its successor removes what it left.
        with contextlib.suppress(FileNotFoundError):
            if is_locked(path):
                yield _read(path.stem, json.loads(path.with_suffix(".json").read_text()), path.read_bytes())


def remove_dead(node: Node) -> None:
    for path in (node.directory / "processes").glob("*.counters"):
        with contextlib.suppress(FileNotFoundError):
            if not is_locked(path):
                path.unlink()
                path.with_suffix(".json").unlink()


def _read(process_id: str, description: dict[str, object], data: bytes) -> Reading:
    layout = Layout(len(_list(description["cores"])))
    rows = [_CORE.unpack_from(data, row * _CORE.size) for row in range(layout.core_count)]
    counts = struct.unpack_from(f"<{len(_EVENTS)}Q", data, layout.events_at)
    (written,) = _EVENT.unpack_from(data, layout.written_at)
    kept = min(written, RING_CAPACITY)
    slots = (index % RING_CAPACITY for index in range(written - kept, written))
    latencies = tuple(_LATENCY.unpack_from(data, layout.ring_at + slot * _LATENCY.size) for slot in slots)
    programs = tuple(
        LoadedProgram(**{**program, "cores": tuple(program["cores"])}) for program in _list(description["programs"])
    )
    return Reading(
        process_id,
        int(str(description["pid"])),
        int(str(description["pid_namespace"])),
        str(description["tag"]),
        str(description["command"]),
        programs,
        {core: busy for core, busy, _ in rows},
        {core: operations for core, _, operations in rows},
        dict(zip(_EVENTS, counts, strict=True)),
        written,
        latencies,
    )


def _list(value: object) -> list[Any]:
    assert isinstance(value, list), f"a process description holds {value!r} where a list belongs"
    return value
