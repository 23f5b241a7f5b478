"""neuron-monitor's JSON as the official exporter's metrics. Pure: a line in, samples out.

Names, types and labels are those of AWS's neuron-monitor-prometheus.py, so that existing dashboards work; keys of the
report: Neuron documentation, "Neuron Monitor User Guide". A key that is missing or of another type is left out and
named, and the rest still counts, because keys have come and gone between releases of the tools. New keys are ignored.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice

import orjson

from neuron_runtime.instance_labels import INSTANCE_LABELS, instance_labels

_RUNTIME_LABELS = (*INSTANCE_LABELS, "runtime_tag")
MOST_ENTRIES = 256
"""Of any map in the report, such as cores or types of errors. What is beyond is left out: no report can fill memory."""
LONGEST_KEY = 128
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
    """What one line says about our own workers. `tags` are those of our workers that it mentions; `differences` the
    documented keys that it lacks or has in another type, each once."""

    samples: tuple[Sample, ...]
    tags: frozenset[str] = field(default=frozenset())
    differences: frozenset[str] = field(default=frozenset())


def monitor_config(tag_pattern: str, period: str) -> bytes:
    """neuron-monitor's configuration: our runtimes only, no system groups (the DaemonSet's)."""
    metrics = ["neuroncore_counters", "memory_used", "neuron_runtime_vcpu_usage", "execution_stats"]
    runtime = {"tag_filter": tag_pattern, "metrics": [{"type": metric} for metric in metrics]}
    return orjson.dumps({"period": period, "neuron_runtimes": [runtime], "system_metrics": []})


class _Part:
    """An object of the report and where it lies; what it should hold and does not is noted in `differences`.

    Of an object that is missing, nothing further is missed.
    """

    def __init__(self, content: object, path: str, differences: set[str]) -> None:
        self.path = path
        self._differences = differences
        self._content: Mapping[str, object] | None = content if isinstance(content, dict) else None
        if self._content is None:
            differences.add(path)

    @property
    def content(self) -> Mapping[str, object]:
        return self._content or {}

    def within(self, key: str) -> "_Part":
        differences = self._differences if self._content is not None else set[str]()
        return _Part(self.content.get(key), f"{self.path}.{key}" if self.path else key, differences)

    def entries(self) -> Iterator[tuple[str, "_Part"]]:
        """Of a map whose keys are not known beforehand, such as cores."""
        for key in self._keys():
            yield key, _Part(self.content[key], f"{self.path}.*", self._differences)

    def number(self, key: str) -> Iterator[float]:
        if self._content is not None:
            yield from self._number(key, key)

    def numbers(self) -> Iterator[tuple[str, float]]:
        """Every entry of a map of numbers whose keys are not known beforehand, such as types of errors."""
        for key in self._keys():
            for value in self._number(key, "*"):
                yield key, value

    def is_null(self, key: str) -> bool:
        return key in self.content and self.content[key] is None

    def _keys(self) -> Iterator[str]:
        return (key for key in islice(self.content, MOST_ENTRIES) if len(key) <= LONGEST_KEY)

    def _number(self, key: str, shown: str) -> Iterator[float]:
        value = self.content.get(key)
        if isinstance(value, (int, float)) and not isinstance(value, bool):
            yield float(value)
        else:
            self._differences.add(f"{self.path}.{shown}" if self.path else shown)


def read_report(line: bytes, tag_prefix: str, environment: Mapping[str, str]) -> Report | None:
    """The samples of a report, or None when the line is not one. Runtimes whose tag is not ours are left out.

    `environment` is the pod's, for the instance's labels where the report has none.
    """
    try:
        document = orjson.loads(line)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(document, dict) or ("neuron_runtime_data" not in document and "instance_info" not in document):
        return None
    differences: set[str] = set()
    whole = _Part(document, "", differences)
    instance = instance_labels(whole.within("instance_info").content, environment)
    samples = list(_hardware(whole.within("neuron_hardware_info"), instance))
    tags: set[str] = set()
    for runtime in _runtimes(document, differences):
        tag = runtime.content.get("neuron_runtime_tag")
        if isinstance(tag, str) and tag.startswith(tag_prefix):
            tags.add(tag)
            samples.extend(_runtime_samples(runtime.within("report"), (*instance, tag)))
    return Report(tuple(samples), frozenset(tags), frozenset(differences))


def _runtimes(document: Mapping[str, object], differences: set[str]) -> Iterator[_Part]:
    """Null is how Go writes a list that was never filled: nothing runs."""
    runtimes = document.get("neuron_runtime_data")
    if isinstance(runtimes, list):
        for runtime in runtimes[:MOST_ENTRIES]:
            yield _Part(runtime, "runtime", differences)
    elif runtimes is not None or "neuron_runtime_data" not in document:
        differences.add("neuron_runtime_data")


def _runtime_samples(report: _Part, labels: tuple[str, ...]) -> Iterator[Sample]:
    for core, counters in report.within("neuroncore_counters").within("neuroncores_in_use").entries():
        for value in counters.number("neuroncore_utilization"):
            yield Sample(UTILIZATION, (*labels, core), value / 100)
    yield from _memory(report.within("memory_used").within("neuron_runtime_used_bytes"), labels)
    usage = report.within("neuron_runtime_vcpu_usage").within("vcpu_usage")
    for kind in ("user", "system"):
        for value in usage.number(kind):
            yield Sample(VCPU, (*labels, kind), value / 100)
    yield from _executions(report.within("execution_stats"), labels)


def _executions(stats: _Part, labels: tuple[str, ...]) -> Iterator[Sample]:
    for family, group in ((ERRORS, "error_summary"), (STATUS, "execution_summary")):
        for kind, value in stats.within(group).numbers():
            if value >= 0:  # a counter never falls
                yield Sample(family, (*labels, kind), value)
    latency = stats.within("latency_stats")
    if latency.content and not latency.is_null("total_latency"):  # null when nothing ran
        for percentile, value in latency.within("total_latency").numbers():
            yield Sample(LATENCY, (*labels, percentile), value)


def _memory(used: _Part, labels: tuple[str, ...]) -> Iterator[Sample]:
    for location in ("host", "neuron_device"):
        for value in used.number(location):
            yield Sample(MEMORY_USED, (*labels, location), value)
    for core, breakdown in used.within("usage_breakdown").within("neuroncore_memory_usage").entries():
        for kind, family in CORE_MEMORY.items():
            for value in breakdown.number(kind):
                # The official exporter writes the text None here; dashboards select by it.
                yield Sample(family, (*labels, core, "None"), value)


def _hardware(info: _Part, instance: tuple[str, ...]) -> Iterator[Sample]:
    keys = ("neuron_device_count", "neuroncore_per_device_count")
    counts = [str(int(value)) for key in keys for value in info.number(key)]
    if len(counts) == len(keys):
        yield Sample(HARDWARE, (*instance, *counts), 1)
