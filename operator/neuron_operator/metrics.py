"""Every metric of the operator, declared once, on a registry that is handed in.

process.py makes one and gives it to whoever measures; docs/reference/operator-metrics.md is made from the help texts.
"""

from collections import Counter as Tally
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

PREFIX = "neuron_serving_operator"
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0)


class Metrics:
    """What the operator tells Prometheus about itself and its models."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self.reconcile_seconds = Histogram(
            f"{PREFIX}_reconcile_duration_seconds",
            "Seconds one look at one NeuronModel took, by how it ended: done, retried or failed.",
            ["outcome"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.queue_depth = Gauge(f"{PREFIX}_queue_depth", "NeuronModels that wait for a worker.", registry=registry)
        self.oldest_key_age = Gauge(
            f"{PREFIX}_oldest_key_age_seconds",
            "Seconds since the oldest waiting or running NeuronModel was queued; 0 without any, and on a standby.",
            registry=registry,
        )
        self.api_requests = Counter(
            f"{PREFIX}_api_requests_total",
            "Requests to the API server apart from the watches, by verb, resource and HTTP code (0: no answer).",
            ["verb", "resource", "code"],
            registry=registry,
        )
        self.api_request_seconds = Histogram(
            f"{PREFIX}_api_request_duration_seconds",
            "Seconds a request to the API server took, by verb.",
            ["verb"],
            buckets=BUCKETS,
            registry=registry,
        )
        self.child_writes = Counter(
            f"{PREFIX}_child_writes_total",
            "Writes to children by kind and what made them: created, changed, adopted or deleted.",
            ["kind", "why"],
            registry=registry,
        )
        self.postponed_statuses = Gauge(
            f"{PREFIX}_postponed_statuses",
            "NeuronModels that make progress, told a moment later so that many small steps are one write.",
            registry=registry,
        )
        self.events_dropped = Counter(
            f"{PREFIX}_events_dropped_total",
            "Events that were not posted because their model had spent its allowance.",
            registry=registry,
        )
        self._declare_watches(registry)
        self._declare_states(registry)

    def _declare_watches(self, registry: CollectorRegistry) -> None:
        self.watch_age = Gauge(
            f"{PREFIX}_watch_age_seconds",
            "Seconds since a watch last delivered anything, by kind; the API server says something once a minute.",
            ["kind"],
            registry=registry,
        )
        self.watch_errors = Counter(
            f"{PREFIX}_watch_errors_total",
            "Watches that failed and were started again with a list, by kind; expired ones (410 Gone) not counted.",
            ["kind"],
            registry=registry,
        )

    def _declare_states(self, registry: CollectorRegistry) -> None:
        self.is_leader = Gauge(f"{PREFIX}_leader", "1 while this replica may write, else 0.", registry=registry)
        self.upgrades_waiting = Gauge(
            f"{PREFIX}_upgrades_waiting",
            "NeuronModels with upgradePolicy Automatic that wait for their turn; 0 on a standby.",
            registry=registry,
        )
        self.preflight = Gauge(
            f"{PREFIX}_preflight",
            "1 while what models need around them is there, 0 while it is not, by check; absent while that is unknown. "
            "A failure counts once it lasted a minute. NeuronTaint and MonitoringDefinitions are advice.",
            ["check"],
            registry=registry,
        )

    def observe_request(self, verb: str, resource: str, code: int, seconds: float) -> None:
        self.api_requests.labels(verb, resource, str(code)).inc()
        self.api_request_seconds.labels(verb).observe(seconds)


class ModelCollector(Collector):
    """Counts the models by condition and reason when Prometheus asks, from what the indices hold."""

    def __init__(self, models: Callable[[], Iterable[Mapping[str, Any]]]) -> None:
        self._models = models

    def collect(self) -> Iterable[GaugeMetricFamily]:
        family = GaugeMetricFamily(
            f"{PREFIX}_models",
            "NeuronModels by condition, status and reason.",
            labels=["condition", "status", "reason"],
        )
        tally = Tally(
            (condition["type"], condition["status"], condition["reason"])
            for model in self._models()
            for condition in model.get("status", {}).get("conditions", ())
        )
        for labels, count in sorted(tally.items()):
            family.add_metric(list(labels), count)
        yield family
