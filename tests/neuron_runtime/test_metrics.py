"""Names and help of every metric, and that figures land where they should."""

import pytest
from prometheus_client import CollectorRegistry

from neuron_runtime.health import WorkerState
from neuron_runtime.metrics import BatchRecord, MetricDoc, Metrics, described_metrics

DESCRIBED = list(described_metrics())


@pytest.mark.parametrize("metric", DESCRIBED, ids=lambda metric: metric.name)
def test_every_metric_has_help_a_prefix_and_a_unit(metric: MetricDoc) -> None:
    assert metric.help.endswith(".")
    assert metric.name.endswith("_total") == (metric.kind == "counter")
    assert "duration" not in metric.name or metric.name.endswith("_seconds")


def test_names_are_unique_and_include_the_official_ones() -> None:
    names = [metric.name for metric in DESCRIBED]

    assert len(set(names)) == len(names)
    assert {"neuroncore_utilization_ratio", "execution_status_total", "neuron_monitor_up"} <= set(names)


def test_every_attribute_of_metrics_is_described() -> None:
    """A metric made elsewhere than in Metrics would miss the reference page."""
    metrics = Metrics(CollectorRegistry())
    registered = {family.name for family in metrics.registry.collect()}
    described = {metric.name.removesuffix("_total").removesuffix("_info") for metric in DESCRIBED}

    assert registered <= described


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
