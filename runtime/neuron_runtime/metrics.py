"""Every metric of the server itself, declared once with its help and labels, on an injected registry.

Written by the batcher, the pool and the routes; read by /metrics and by the generator of the reference page
(`described_metrics`). Label children are made once, because a lookup by labels costs more than the increment.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Info
from prometheus_client.metrics_core import Metric

from neuron_runtime.health import WorkerState
from neuron_runtime.monitor_report import FAMILIES

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(frozen=True)
class BatchRecord:
    """One device batch that came back."""

    bucket: int
    rows: int
    padding_rows: int
    device_seconds: float


@dataclass(frozen=True)
class MetricDoc:
    """One row of the reference page. `name` is as scraped; `kind` is counter, gauge, histogram or info."""

    name: str
    kind: str
    labels: tuple[str, ...]
    help: str


class Metrics:
    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        self._declare_requests()
        self._declare_batches()
        self._declare_workers()
        self.monitor_restarts = self._counter("neuron_monitor_restarts", "Times neuron-monitor was started again.")
        self.monitor_bad_lines = self._counter(
            "neuron_monitor_unreadable_lines", "Lines of neuron-monitor that were no report."
        )
        self.build = Info(
            "neuron_model_build",
            "What is served by what: runtime version, engine, model, its version and its bundle's digest.",
            registry=registry,
        )
        self._bucket_counters: dict[int, Counter] = {}
        self._request_counters: dict[tuple[str, int], Counter] = {}

    def _declare_requests(self) -> None:
        self.requests = self._counter(
            "neuron_model_requests",
            "Requests answered, by API (infer, predict, embeddings) and HTTP status.",
            "api",
            "code",
        )
        self.canceled = self._counter(
            "neuron_model_requests_canceled",
            "Requests whose client left before the answer; rows still queued were not computed.",
        )
        self.retries = self._counter(
            "neuron_model_request_retries",
            "Requests run again alone because their batch failed or its worker was lost.",
        )
        self.request_seconds = self._histogram(
            "neuron_model_request_duration_seconds",
            "From the first byte of a request to its answer, by API, refusals left out.",
            "api",
        )
        self.queue_seconds = self._histogram(
            "neuron_model_queue_duration_seconds",
            "From admission to the device batch that takes the request's first row.",
        )
        self.tokenize_seconds = self._histogram(
            "neuron_model_tokenize_duration_seconds", "Turning the texts of one request into token ids."
        )
        self.queue_rows = self._gauge("neuron_model_queue_rows", "Rows admitted and on no core yet.")
        self.queue_capacity_rows = self._gauge(
            "neuron_model_queue_capacity_rows", "Rows that may wait before requests are refused."
        )

    def _declare_batches(self) -> None:
        self.device_seconds = self._histogram(
            "neuron_model_device_duration_seconds", "A device batch on its core, from the call to its return."
        )
        self.batch_rows = Histogram(
            "neuron_model_batch_rows",
            "Rows in a device batch, padding left out.",
            buckets=_ROWS,
            registry=self.registry,
        )
        self.rows = self._counter("neuron_model_rows", "Rows computed, padding left out.")
        self.padding_rows = self._counter(
            "neuron_model_padding_rows", "Rows computed only because a program's batch is fixed."
        )
        self.batches = self._counter(
            "neuron_model_batches", "Device batches, by index of the bucket in model.json.", "bucket"
        )

    def _declare_workers(self) -> None:
        self.workers = self._gauge("neuron_model_workers", "Workers, by state.", "state")
        self.worker_restarts = self._counter(
            "neuron_model_worker_restarts", "Workers replaced, by core and cause.", "core", "cause"
        )
        self.ready = self._gauge("neuron_model_ready", "1 while the readiness probe succeeds.")
        self.load_seconds = self._gauge("neuron_model_load_seconds", "What loading the model took, by core.", "core")
        self.warm_seconds = self._gauge(
            "neuron_model_warm_seconds", "What one execution of every bucket took, by core.", "core"
        )

    def batch_done(self, batch: BatchRecord) -> None:
        self.batch_rows.observe(batch.rows)
        self.rows.inc(batch.rows)
        if batch.padding_rows:
            self.padding_rows.inc(batch.padding_rows)
        self.device_seconds.observe(batch.device_seconds)
        counter = self._bucket_counters.get(batch.bucket)
        if counter is None:
            counter = self._bucket_counters[batch.bucket] = self.batches.labels(str(batch.bucket))
        counter.inc()

    def request_done(self, api: str, status: int) -> None:
        counter = self._request_counters.get((api, status))
        if counter is None:
            counter = self._request_counters[api, status] = self.requests.labels(api, str(status))
        counter.inc()

    def watch_workers(self, states: Callable[[], Iterable[WorkerState]], is_ready: Callable[[], bool]) -> None:
        """Have the worker and readiness gauges ask at each scrape, so that they cannot be stale."""
        for state in WorkerState:
            self.workers.labels(str(state)).set_function(partial(_count, state, states))
        self.ready.set_function(lambda: float(is_ready()))

    def _counter(self, name: str, documentation: str, *labels: str) -> Counter:
        return Counter(name, documentation, labels, registry=self.registry)

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        return Gauge(name, documentation, labels, registry=self.registry)

    def _histogram(self, name: str, documentation: str, *labels: str) -> Histogram:
        return Histogram(name, documentation, labels, buckets=_SECONDS, registry=self.registry)


def described_metrics() -> Iterator[MetricDoc]:
    """Every metric this server can expose, its own and neuron-monitor's, for the generated reference."""
    metrics = Metrics(CollectorRegistry())
    labels = {
        collector._name: tuple(collector._labelnames)
        for collector in vars(metrics).values()
        if isinstance(collector, (Counter, Gauge, Histogram, Info))
    }
    for family in metrics.registry.collect():
        yield MetricDoc(_scraped_name(family), family.type, labels[family.name], family.documentation)
    for known in FAMILIES:
        yield MetricDoc(known.scraped_name, known.kind, known.labels, known.help)


def _count(state: WorkerState, states: Callable[[], Iterable[WorkerState]]) -> float:
    return sum(other is state for other in states())


def _scraped_name(family: Metric) -> str:
    suffix = {"counter": "_total", "info": "_info"}.get(family.type, "")
    return family.name + suffix
