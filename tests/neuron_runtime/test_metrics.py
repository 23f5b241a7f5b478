"""Names and help of every metric, and that figures land where they should."""

import re

import pytest
from prometheus_client import CollectorRegistry

from neuron_runtime.errors import REFUSALS, RuntimeServingError
from neuron_runtime.health import WorkerState
from neuron_runtime.metrics import BatchRecord, MetricDoc, Metrics, described_metrics
from neuron_runtime.monitor_report import FAMILIES

DESCRIBED = list(described_metrics())
_OFFICIAL = {family.scraped_name for family in FAMILIES}
OWN = [metric for metric in DESCRIBED if metric.name not in _OFFICIAL]


@pytest.mark.parametrize("metric", DESCRIBED, ids=lambda metric: metric.name)
def test_every_metric_is_named_as_prometheus_asks(metric: MetricDoc) -> None:
    assert metric.help.endswith(".")
    assert re.fullmatch(r"[a-z][a-z0-9_]*[a-z0-9]", metric.name)
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert metric.name.endswith("_info") == (metric.kind == "info")
    assert not metric.name.endswith(("_bucket", "_sum", "_count", "_created"))
    assert not re.search("_(ms|millis|milliseconds|minutes|kb|mb|percent)(_|$)", metric.name)
    assert "duration" not in metric.name or metric.name.endswith("_seconds")
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", label) and label not in {"le", "quantile"} for label in metric.labels)


@pytest.mark.parametrize("metric", [metric for metric in DESCRIBED if metric.kind == "histogram"], ids=str)
def test_a_histogram_ends_in_what_it_counts(metric: MetricDoc) -> None:
    assert metric.name.endswith(("_seconds", "_rows"))


@pytest.mark.parametrize("metric", OWN, ids=lambda metric: metric.name)
def test_our_own_metrics_have_our_prefixes(metric: MetricDoc) -> None:
    assert metric.name.startswith(("neuron_model_", "neuron_monitor_"))


def test_names_are_unique_and_include_the_official_ones() -> None:
    names = [metric.name for metric in DESCRIBED]

    assert len(set(names)) == len(names)
    assert {"neuroncore_utilization_ratio", "execution_status_total", "neuron_monitor_up"} <= set(names)


def test_every_attribute_of_metrics_is_described() -> None:
    """A metric made elsewhere than in Metrics would miss the reference page."""
    metrics = Metrics(CollectorRegistry())
    registered = {(family.name, family.type, family.documentation) for family in metrics.registry.collect()}
    described = {(metric.name.removesuffix("_total").removesuffix("_info"), metric.kind, metric.help) for metric in OWN}

    assert registered == described


def test_every_reason_for_refusing_has_its_series_from_the_start() -> None:
    metrics = Metrics(CollectorRegistry())

    for reason in REFUSALS:
        assert metrics.registry.get_sample_value("neuron_model_requests_refused_total", {"reason": reason}) == 0


@pytest.mark.parametrize("error", [RuntimeServingError, *RuntimeServingError.__subclasses__()], ids=str)
def test_the_reason_of_every_error_is_a_known_one(error: type[RuntimeServingError]) -> None:
    assert error.refusal in {"", *REFUSALS}
    assert error.refusal or error.status not in {400, 413, 429, 503, 504}


def test_durations_are_told_apart_between_half_a_millisecond_and_half_a_minute() -> None:
    metrics = Metrics(CollectorRegistry())

    assert metrics.device_seconds.bounds[0] == 0.0005
    assert metrics.device_seconds.bounds[-1] == 30.0
    assert list(metrics.device_seconds.bounds) == sorted(set(metrics.device_seconds.bounds))


def test_what_is_not_known_here_is_absent() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.artifact_bytes.set(5)

    assert metrics.registry.get_sample_value("neuron_model_fetch_seconds") is None
    assert metrics.registry.get_sample_value("neuron_model_artifact_bytes") == 5


def test_a_batch_is_counted_once_with_its_padding() -> None:
    metrics = Metrics(CollectorRegistry())
    metrics.batch_done(BatchRecord(bucket=1, rows=3, padding_rows=5, device_seconds=0.01))

    value = metrics.registry.get_sample_value
    assert value("neuron_model_rows_total") == 3
    assert value("neuron_model_padding_rows_total") == 5
    assert value("neuron_model_batches_total", {"bucket": "1"}) == 1


def test_worker_gauges_ask_at_each_scrape() -> None:
    metrics = Metrics(CollectorRegistry())
    states = [WorkerState.LOADING]
    metrics.watch_workers(lambda: states, lambda: states == [WorkerState.READY])
    states[0] = WorkerState.READY

    assert metrics.registry.get_sample_value("neuron_model_workers", {"state": "ready"}) == 1
    assert metrics.registry.get_sample_value("neuron_model_ready") == 1
