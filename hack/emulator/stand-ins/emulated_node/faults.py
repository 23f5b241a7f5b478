"""Injected faults: what the emulated silicon does wrong on purpose.

`faults.json` in the node's directory, or $NEURON_EMULATOR_FAULTS for one process, holds a list of objects
{"fault": KIND, "value": …, "cores": […], "tag": REGEX, "after": N, "times": N}; all but the first two may be left
out. They are looked up at every claim, load and execution, so a running process can be broken and healed. Each one
that strikes says so on standard error: a fault must never be mistaken for a bug.
"""

import json
import os
import re
import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from emulated_node.node import Node

FAULTS_VARIABLE = "NEURON_EMULATOR_FAULTS"

# Kind: what its value means.
KINDS = {
    "core_busy_after_kill": "seconds a core stays busy after its owner died without releasing it (SIGKILL)",
    "slow_load": "seconds that every load takes longer",
    "load_status": "NRT_STATUS number with which loads fail",
    "execution_status": "NRT_STATUS number with which executions fail",
    "execution_hang": "seconds an execution hangs; more than NEURON_RT_EXEC_TIMEOUT ends in NRT_TIMEOUT; -1: for ever",
    "slow_execution": "seconds that every execution takes longer",
    "device_memory": "bytes of device memory a core has; loads beyond it fail with NRT_RESOURCE",
}


@dataclass(frozen=True)
class Fault:
    kind: str
    value: float
    cores: tuple[int, ...] = ()
    tag: str = ""
    after: int = 0
    times: int | None = None

    @classmethod
    def parse(cls, raw: Mapping[str, object]) -> "Fault":
        unknown = set(raw) - {"fault", "value", "cores", "tag", "after", "times"}
        kind = str(raw.get("fault"))
        if unknown or kind not in KINDS:
            raise ValueError(f"no such fault: {dict(raw)}; kinds are {', '.join(KINDS)}")
        times = raw.get("times")
        cores = raw.get("cores", [])
        if not isinstance(cores, list):
            raise ValueError(f"cores of a fault are a list: {dict(raw)}")
        return cls(
            kind,
            float(str(raw["value"])),
            tuple(int(core) for core in cores),
            str(raw.get("tag", "")),
            int(str(raw.get("after", 0))),
            None if times is None else int(str(times)),
        )


class Faults:
    """One process's view of the node's faults; it counts how often each has been met, for `after` and `times`."""

    def __init__(self, node: Node, tag: str, environ: Mapping[str, str] = os.environ) -> None:
        self._path = node.directory / "faults.json"
        self._tag = tag
        self._own = parse_faults(environ.get(FAULTS_VARIABLE, "[]"))
        self._seen: tuple[int, int] | None = None
        self._shared: tuple[Fault, ...] = ()
        self._met: dict[Fault, int] = {}
        self._lock = threading.Lock()

    def strike(self, kind: str, core: int | None = None) -> float | None:
        """The value of the fault that strikes here and now, or None; every call counts as one occasion."""
        with self._lock:
            for fault in (*self._own, *self._current()):
                if fault.kind == kind and self._concerns(fault, core) and self._is_due(fault):
                    print(f"neuron-emulator: INJECTED FAULT {kind}={fault.value:g} core={core}", file=sys.stderr)
                    return fault.value
        return None

    def stands(self, kind: str) -> float | None:
        """The value of a fault that describes the device rather than an occasion; nothing is counted or printed."""
        with self._lock:
            values = [fault.value for fault in (*self._own, *self._current()) if fault.kind == kind]
        return values[0] if values else None

    def _concerns(self, fault: Fault, core: int | None) -> bool:
        return (not fault.cores or core in fault.cores) and re.search(fault.tag, self._tag) is not None

    def _is_due(self, fault: Fault) -> bool:
        met = self._met[fault] = self._met.get(fault, 0) + 1
        return met > fault.after and (fault.times is None or met <= fault.after + fault.times)

    def _current(self) -> tuple[Fault, ...]:
        try:
            found = self._path.stat()
        except FileNotFoundError:
            self._seen, self._shared = None, ()
            return ()
        if self._seen != (found.st_ino, found.st_mtime_ns):
            self._seen, self._shared = (found.st_ino, found.st_mtime_ns), read_faults(self._path)
            self._met.clear()
        return self._shared


def read_faults(path: Path) -> tuple[Fault, ...]:
    return parse_faults(path.read_text())


def parse_faults(text: str) -> tuple[Fault, ...]:
    raw = json.loads(text)
    if not isinstance(raw, list):
        raise ValueError("faults are a JSON list")
    return tuple(Fault.parse(item) for item in raw)
