"""What this machine's processors and memory did between two looks at /proc; for neuron-monitor's system groups.

Inside a container these figures are the whole host's and say little, as with the real tool.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from emulated_node.monitor_report import HostUsage

# The order of a "cpu" line's fields in /proc/stat.
_FIELDS = ("user", "nice", "system", "idle", "io_wait", "irq", "soft_irq")
_TICKS_PER_SECOND = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class HostTotals:
    """Totals since boot, except memory."""

    processor_ticks: dict[str, tuple[int, ...]]
    context_switches: int
    memory: dict[str, int]
    process_ticks: dict[int, tuple[int, int]]
    process_bytes: dict[int, int]


def read_totals(pids: Iterable[int]) -> HostTotals:
    processors: dict[str, tuple[int, ...]] = {}
    switches = 0
    for line in Path("/proc/stat").read_text().splitlines():
        name, *values = line.split()
        if name.startswith("cpu"):
            processors[name.removeprefix("cpu") or "average"] = tuple(int(value) for value in values[: len(_FIELDS)])
        elif name == "ctxt":
            switches = int(values[0])
    memory = {}
    for line in Path("/proc/meminfo").read_text().splitlines():
        name, _, rest = line.partition(":")
        memory[name] = int(rest.split()[0]) * 1024
    ticks: dict[int, tuple[int, int]] = {}
    resident: dict[int, int] = {}
    for pid in pids:
        found = _read_process(pid)
        if found is not None:
            ticks[pid], resident[pid] = found
    return HostTotals(processors, switches, memory, ticks, resident)


def usage_between(earlier: HostTotals, now: HostTotals, seconds: float) -> HostUsage:
    memory = now.memory
    return HostUsage(
        {name: _shares(earlier.processor_ticks.get(name, ticks), ticks) for name, ticks in now.processor_ticks.items()},
        now.context_switches - earlier.context_switches,
        memory["MemTotal"],
        memory["MemTotal"] - memory.get("MemAvailable", memory["MemFree"]),
        memory["SwapTotal"],
        memory["SwapTotal"] - memory["SwapFree"],
        {
            pid: (_share(pid, 0, earlier, now, seconds), _share(pid, 1, earlier, now, seconds))
            for pid in now.process_ticks
        },
        now.process_bytes,
    )


def _read_process(pid: int) -> tuple[tuple[int, int], int] | None:
    """User and system ticks and resident bytes; None for a process of another pod, or gone."""
    try:
        # The command in parentheses may hold spaces: count fields from behind it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except (FileNotFoundError, ProcessLookupError):
        return None
    return (int(fields[11]), int(fields[12])), int(fields[21]) * _PAGE_BYTES


def _shares(earlier: tuple[int, ...], now: tuple[int, ...]) -> dict[str, float]:
    spent = [after - before for before, after in zip(earlier, now, strict=True)]
    total = sum(spent) or 1
    return {name: round(100 * ticks / total, 2) for name, ticks in zip(_FIELDS, spent, strict=True)}


def _share(pid: int, which: int, earlier: HostTotals, now: HostTotals, seconds: float) -> float:
    spent = now.process_ticks[pid][which] - earlier.process_ticks.get(pid, now.process_ticks[pid])[which]
    return round(100 * spent / _TICKS_PER_SECOND / seconds, 2)
