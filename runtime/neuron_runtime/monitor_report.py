"""neuron-monitor's JSON as the official exporter's metrics. Pure: a line in, samples out.

Names, types and labels are those of AWS's neuron-monitor-prometheus.py, so that existing dashboards work; keys of the
report: Neuron documentation, "Neuron Monitor User Guide". A key that is missing or of another type is left out and the
rest still counts, because keys have come and gone between releases of the tools.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import orjson

INSTANCE_LABELS = ("instance_name", "instance_id", "instance_type", "availability_zone", "region", "subnet_id")
_RUNTIME_LABELS = (*INSTANCE_LABELS, "runtime_tag")
_MEMORY_KINDS = ("constants", "model_code", "model_shared_scratchpad", "runtime_memory", "tensors")


@dataclass(frozen=True)
class Family:
    """A metric of the official exporter. `name` has no _total; `labels` is in the order of Sample.labels."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str

    @property
    def scraped_name(self) -> str:
        return self.name + {"counter": "_total", "info": "_info"}.get(self.kind, "")


def _runtime(name: str, kind: str, labels: tuple[str, ...], text: str) -> Family:
    return Family(name, kind, (*_RUNTIME_LABELS, *labels), text)


UTILIZATION = _runtime(
    "neuroncore_utilization_ratio",
    "gauge",
    ("neuroncore",),
    "Share of the period the NeuronCore was executing, 0 to 1.",
)
MEMORY_USED = _runtime(
    "neuron_runtime_memory_used_bytes", "gauge", ("memory_location",), "Memory the Neuron runtime uses, host or device."
)
CORE_MEMORY = {
    kind: _runtime(
        f"neuroncore_memory_usage_{kind}",
        "gauge",
        ("neuroncore", "memory_location"),
        f"Device memory of the NeuronCore used for {kind.replace('_', ' ')}, in bytes.",
    )
    for kind in _MEMORY_KINDS
}
VCPU = _runtime(
    "neuron_runtime_vcpu_usage_ratio", "gauge", ("usage_type",), "Host CPU the Neuron runtime uses, 0 to 1."
)
LATENCY = _runtime(
    "execution_latency_seconds", "gauge", ("percentile",), "Latency of executions in the last period, by percentile."
)
ERRORS = _runtime("execution_errors", "counter", ("error_type",), "Executions that failed, by type of error.")
STATUS = _runtime("execution_status", "counter", ("status_type",), "Executions by how they ended.")
HARDWARE = Family(
    "neuron_hardware",
    "info",
    (*INSTANCE_LABELS, "neuron_device_count", "neuroncore_per_device_count"),
    "The Neuron devices of the node.",
)
UP = Family(
    "neuron_monitor_up", "gauge", ("reason",), "1 while neuron-monitor reports on this pod's workers; else 0 and why."
)
FAMILIES = (UTILIZATION, MEMORY_USED, *CORE_MEMORY.values(), VCPU, LATENCY, ERRORS, STATUS, HARDWARE, UP)


@dataclass(frozen=True)
class Sample:
    """One value. For a counter it is what the period added."""

    family: Family
    labels: tuple[str, ...]
    value: float


@dataclass(frozen=True)
class Report:
    """What one line says about our own workers. `tags` are those of our workers that it mentions."""

    samples: tuple[Sample, ...]
    tags: frozenset[str] = field(default=frozenset())


def monitor_config(tag_pattern: str, period: str) -> bytes:
    """neuron-monitor's configuration: our runtimes only, no system groups (the DaemonSet's)."""
    metrics = ["neuroncore_counters", "memory_used", "neuron_runtime_vcpu_usage", "execution_stats"]
    runtime = {"tag_filter": tag_pattern, "metrics": [{"type": metric} for metric in metrics]}
    return orjson.dumps({"period": period, "neuron_runtimes": [runtime], "system_metrics": []})


def read_report(line: bytes, tag_prefix: str, node_name: str) -> Report | None:
    """The samples of a report, or None when the line is not one. Runtimes whose tag is not ours are left out."""
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or ("neuron_runtime_data" not in document and "instance_info" not in document):
        return None
    instance = _instance_labels(_mapping(document, "instance_info"), node_name)
    samples: list[Sample] = list(_hardware(_mapping(document, "neuron_hardware_info"), instance))
    tags: set[str] = set()
    runtimes = document.get("neuron_runtime_data")
    for runtime in runtimes if isinstance(runtimes, list) else []:
        if not isinstance(runtime, dict) or not str(runtime.get("neuron_runtime_tag", "")).startswith(tag_prefix):
            continue
        tag = str(runtime["neuron_runtime_tag"])
        tags.add(tag)
        samples.extend(_runtime_samples(_mapping(runtime, "report"), (*instance, tag)))
    return Report(tuple(samples), frozenset(tags))


def _runtime_samples(report: Mapping[str, object], labels: tuple[str, ...]) -> Iterator[Sample]:
    for core, counters in _items(_mapping(report, "neuroncore_counters"), "neuroncores_in_use"):
        for value in _numbers(counters, "neuroncore_utilization"):
            yield Sample(UTILIZATION, (*labels, core), value / 100)
    yield from _memory(_mapping(_mapping(report, "memory_used"), "neuron_runtime_used_bytes"), labels)
    usage = _mapping(_mapping(report, "neuron_runtime_vcpu_usage"), "vcpu_usage")
    for kind in ("user", "system"):
        for value in _numbers(usage, kind):
            yield Sample(VCPU, (*labels, kind), value / 100)
    stats = _mapping(report, "execution_stats")
    for family, group in ((ERRORS, "error_summary"), (STATUS, "execution_summary")):
        summary = _mapping(stats, group)
        for kind in summary:
            for value in _numbers(summary, kind):
                yield Sample(family, (*labels, kind), value)
    latency = _mapping(_mapping(stats, "latency_stats"), "total_latency")
    for percentile in latency:
        for value in _numbers(latency, percentile):
            yield Sample(LATENCY, (*labels, percentile), value)


def _memory(used: Mapping[str, object], labels: tuple[str, ...]) -> Iterator[Sample]:
    for location in ("host", "neuron_device"):
        for value in _numbers(used, location):
            yield Sample(MEMORY_USED, (*labels, location), value)
    for core, breakdown in _items(_mapping(used, "usage_breakdown"), "neuroncore_memory_usage"):
        for kind, family in CORE_MEMORY.items():
            for value in _numbers(breakdown, kind):
                # The official exporter writes the text None here; dashboards select by it.
                yield Sample(family, (*labels, core, "None"), value)


def _hardware(info: Mapping[str, object], instance: tuple[str, ...]) -> Iterator[Sample]:
    if info:
        counts = (str(info.get("neuron_device_count", "")), str(info.get("neuroncore_per_device_count", "")))
        yield Sample(HARDWARE, (*instance, *counts), 1)


def _instance_labels(info: Mapping[str, object], node_name: str) -> tuple[str, ...]:
    """The instance's labels; where pods may not read instance metadata, at least the node's name."""
    keys = (
        "instance_name",
        "instance_id",
        "instance_type",
        "instance_availability_zone",
        "instance_region",
        "subnet_id",
    )
    name, *rest = (str(info.get(key) or "") for key in keys)
    return (name or node_name, *rest)


def _mapping(parent: Mapping[str, object], key: str) -> Mapping[str, object]:
    value = parent.get(key)
    return value if isinstance(value, dict) else {}


def _items(parent: Mapping[str, object], key: str) -> Iterator[tuple[str, Mapping[str, object]]]:
    for name in _mapping(parent, key):
        yield name, _mapping(_mapping(parent, key), name)


def _numbers(parent: Mapping[str, object], key: str) -> Iterator[float]:
    value = parent.get(key)
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        yield float(value)
