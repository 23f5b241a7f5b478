"""neuron-monitor's configuration file: which groups, which processes, how often (AWS: "Neuron Monitor User Guide").

Pure. Only the period at the root is kept: per-group periods are accepted and ignored.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass

RUNTIME_GROUPS = ("neuroncore_counters", "memory_used", "neuron_runtime_vcpu_usage", "execution_stats")
SYSTEM_GROUPS = ("vcpu_usage", "memory_info", "neuron_hw_counters")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "us": 1e-6, "ns": 1e-9}
_PART = re.compile(r"(\d+(?:\.\d*)?)(ms|us|ns|h|m|s)")


@dataclass(frozen=True)
class RuntimeFilter:
    tag: re.Pattern[str]
    groups: tuple[str, ...]


@dataclass(frozen=True)
class MonitorConfig:
    period_seconds: float
    runtimes: tuple[RuntimeFilter, ...]
    system_groups: tuple[str, ...]


EVERYTHING = MonitorConfig(5.0, (RuntimeFilter(re.compile(""), RUNTIME_GROUPS),), SYSTEM_GROUPS)


def parse_config(raw: Mapping[str, object]) -> MonitorConfig:
    runtimes = tuple(
        RuntimeFilter(re.compile(str(entry.get("tag_filter", ""))), _groups(entry.get("metrics"), RUNTIME_GROUPS))
        for entry in _entries(raw.get("neuron_runtimes"))
    )
    period = raw.get("period")
    return MonitorConfig(
        EVERYTHING.period_seconds if period is None else parse_duration(str(period)),
        runtimes,
        _groups(raw.get("system_metrics"), SYSTEM_GROUPS),
    )


def parse_duration(text: str) -> float:
    """Seconds of a Go duration: `1s`, `500ms`, `1m30s`."""
    parts = _PART.findall(text)
    if not parts or "".join(number + unit for number, unit in parts) != text:
        raise ValueError(f"period {text!r} is no duration such as 1s or 500ms")
    return sum(float(number) * _UNITS[unit] for number, unit in parts)


def _groups(entries: object, known: tuple[str, ...]) -> tuple[str, ...]:
    groups = tuple(str(entry.get("type")) for entry in _entries(entries))
    for group in groups:
        if group not in known:
            raise ValueError(f"no metric group {group!r}; there are {', '.join(known)}")
    return groups


def _entries(value: object) -> list[Mapping[str, object]]:
    if value is None:
        return []
    if not isinstance(value, list) or not all(isinstance(entry, Mapping) for entry in value):
        raise ValueError(f"expected a list of objects, found {value!r}")
    return value
