"""Every metric of the server itself, declared once with its help and labels, on an injected registry.

Written by the batcher, the pool and the routes; read by /metrics and by the generator of the reference page
(`described_metrics`). What the request path writes is of `hot_metrics`: only the event loop's thread writes it.
"""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial

from prometheus_client import CollectorRegistry, Gauge, Info

from neuron_runtime.connections import CONNECTION_ENDS
from neuron_runtime.errors import REFUSALS
from neuron_runtime.health import WorkerState
from neuron_runtime.hot_metrics import CounterFamily, FactGauge, HistogramFamily, HotCounter, HotHistogram
from neuron_runtime.monitor_report import FAMILIES

# Dense from 1 to 25 ms, where a batch on a NeuronCore and the waits around it lie.
_SECONDS = (
    *(0.0005, 0.001, 0.0015, 0.002, 0.003, 0.004, 0.005, 0.0075, 0.01, 0.015, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0),
)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


@dataclass(slots=True)
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
        self.docs: list[MetricDoc] = []
        self._declare_requests()
        self._declare_durations()
        self._declare_batches()
        self._declare_workers()
        self._declare_model()
        self._declare_monitor()
        self._bucket_counters: dict[int, HotCounter] = {}
        self._request_counters: dict[tuple[str, int], HotCounter] = {}

    def _declare_requests(self) -> None:
        self.requests = self._counters(
            "neuron_model_requests",
            "Requests answered, by API (infer, predict, embeddings) and HTTP status.",
            "api",
            "code",
        )
        self.refused = self._counters(
            "neuron_model_requests_refused",
            f"Requests answered without a result because of what they were or when they came: {', '.join(REFUSALS)}.",
            "reason",
        )
        for reason in REFUSALS:
            self.refused.labels(reason)
        self.payloads_refused = self._gauge(
            "neuron_model_refused_payloads", "Payload hashes refused now because they crashed two workers."
        )
        self.canceled = self._counter(
            "neuron_model_requests_canceled",
            "Requests whose client left before the answer; rows still queued were not computed.",
        )
        self.retries = self._counter(
            "neuron_model_request_retries",
            "Requests run again alone because their batch failed or its worker was lost.",
        )
        self.queue_rows = self._gauge("neuron_model_queue_rows", "Rows admitted and on no core yet.")
        self.queue_capacity_rows = self._gauge(
            "neuron_model_queue_capacity_rows", "Rows that may wait before requests are refused."
        )

        self.connections = self._gauge("neuron_model_connections", "Client connections open now.")
        self.connections_ended = self._counters(
            "neuron_model_connections_ended",
            "Connections or requests ended for what they did or failed to do before a request could be read whole, and "
            f"for lack of room: {', '.join(CONNECTION_ENDS)}.",
            "cause",
        )
        for cause in CONNECTION_ENDS:
            self.connections_ended.labels(cause)

    def _declare_durations(self) -> None:
        self.request_seconds = self._histograms(
            "neuron_model_request_duration_seconds",
            "From the first byte of a request to its answer, by API; only requests answered with status 200.",
            _SECONDS,
            "api",
        )
        self.queue_seconds = self._histogram(
            "neuron_model_queue_duration_seconds",
            "From admission to the device batch that takes the request's first row.",
            _SECONDS,
        )
        self.batch_wait_seconds = self._histogram(
            "neuron_model_batch_wait_duration_seconds",
            "What a device batch spends at its worker beside its own call on the core: behind the call before it, and "
            "on the way there and back.",
            _SECONDS,
        )
        self.device_seconds = self._histogram(
            "neuron_model_device_duration_seconds",
            "A device batch on its core, from the call to its return.",
            _SECONDS,
        )
        self.tokenize_seconds = self._histogram(
            "neuron_model_tokenize_duration_seconds", "Turning the texts of one request into token ids.", _SECONDS
        )
        self.decode_seconds = self._histogram(
            "neuron_model_decode_duration_seconds",
            "Turning the images of one request into the model's input, waiting for a decoder included.",
            _SECONDS,
        )

    def _declare_batches(self) -> None:
        self.batch_rows = self._histogram("neuron_model_batch_rows", "Rows in a device batch, padding left out.", _ROWS)
        self.rows = self._counter("neuron_model_rows", "Rows computed, padding left out.")
        self.padding_rows = self._counter(
            "neuron_model_padding_rows", "Rows computed only because a program's batch is fixed."
        )
        self.batches = self._counters(
            "neuron_model_batches", "Device batches, by index of the bucket in model.json.", "bucket"
        )

    def _declare_workers(self) -> None:
        self.workers = self._gauge("neuron_model_workers", "Workers, by state.", "state")
        self.worker_restarts = self._counters(
            "neuron_model_worker_restarts", "Workers replaced, by core and cause.", "core", "cause"
        )
        self.ready = self._gauge("neuron_model_ready", "1 while the readiness probe succeeds.")
        self.load_seconds = self._gauge("neuron_model_load_seconds", "What loading the model took, by core.", "core")
        self.warm_seconds = self._gauge(
            "neuron_model_warm_seconds", "What one execution of every bucket took, by core.", "core"
        )

    def _declare_model(self) -> None:
        self.fetch_seconds = self._fact(
            "neuron_model_fetch_seconds",
            "What fetching and verifying the bundle took in the init container; absent where it was not fetched.",
        )
        self.artifact_bytes = self._fact(
            "neuron_model_artifact_bytes", "Size of the bundle's files together; absent without a bundle."
        )
        name, text = (
            "neuron_model_build",
            "What is served by what: runtime version, engine, model, its version and its bundle's digest.",
        )
        self.build = Info(name, text, registry=self.registry)
        self.docs.append(MetricDoc(f"{name}_info", "info", (), text))

    def _declare_monitor(self) -> None:
        self.monitor_restarts = self._counter("neuron_monitor_restarts", "Times neuron-monitor was started again.")
        self.monitor_bad_lines = self._counter(
            "neuron_monitor_unreadable_lines", "Lines of neuron-monitor that were no report."
        )
        self.monitor_differences = self._counters(
            "neuron_monitor_schema_differences",
            "Reports of neuron-monitor in which this documented key was missing or of another type.",
            "key",
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

    def _counter(self, name: str, documentation: str) -> HotCounter:
        return self._counters(name, documentation).labels()

    def _counters(self, name: str, documentation: str, *labels: str) -> CounterFamily:
        self.docs.append(MetricDoc(f"{name}_total", "counter", labels, documentation))
        family = CounterFamily(name, documentation, labels)
        self.registry.register(family)
        return family

    def _histogram(self, name: str, documentation: str, bounds: tuple[float, ...]) -> HotHistogram:
        return self._histograms(name, documentation, bounds).labels()

    def _histograms(self, name: str, documentation: str, bounds: tuple[float, ...], *labels: str) -> HistogramFamily:
        self.docs.append(MetricDoc(name, "histogram", labels, documentation))
        family = HistogramFamily(name, documentation, bounds, labels)
        self.registry.register(family)
        return family

    def _gauge(self, name: str, documentation: str, *labels: str) -> Gauge:
        self.docs.append(MetricDoc(name, "gauge", labels, documentation))
        return Gauge(name, documentation, labels, registry=self.registry)

    def _fact(self, name: str, documentation: str) -> FactGauge:
        self.docs.append(MetricDoc(name, "gauge", (), documentation))
        gauge = FactGauge(name, documentation)
        self.registry.register(gauge)
        return gauge


def described_metrics() -> Iterator[MetricDoc]:
    """Every metric this server can expose, its own and neuron-monitor's, for the generated reference."""
    yield from Metrics(CollectorRegistry()).docs
    for known in FAMILIES:
        yield MetricDoc(known.scraped_name, known.kind, known.labels, known.help)


def _count(state: WorkerState, states: Callable[[], Iterable[WorkerState]]) -> float:
    return sum(other is state for other in states())
