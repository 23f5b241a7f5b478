"""Every metric is declared in one place, and what a scrape shows is what the reference page describes."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from neuron_runtime.metrics import BatchRecord, Metrics, described_metrics
from neuron_runtime.monitor_metrics import MonitorMetrics
from neuron_runtime.monitor_report import FAMILIES, Report, Sample

ROOT = Path(__file__).parents[2]
# The one that declares, the ones that give plain numbers their shape, and the one that only writes the page.
ALLOWED = {
    "metrics.py": {"CollectorRegistry", "Gauge", "Info"},
    "hot_metrics.py": {"CounterMetricFamily", "GaugeMetricFamily", "HistogramMetricFamily", "Metric", "Collector"},
    "monitor_metrics.py": {"CounterMetricFamily", "GaugeMetricFamily", "InfoMetricFamily", "Metric", "Collector"},
}
EVERYWHERE = {"CollectorRegistry", "generate_latest", "CONTENT_TYPE_LATEST", "CONTENT_TYPE_PLAIN_0_0_4"}
EVERYWHERE |= {"disable_created_metrics"}


def imported_of_prometheus() -> Iterator[tuple[str, str]]:
    for path in sorted((ROOT / "runtime" / "neuron_runtime").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("prometheus_client"):
                yield from ((path.name, alias.name) for alias in node.names)
            if isinstance(node, ast.Import) and any(a.name.startswith("prometheus_client") for a in node.names):
                yield path.name, "*"


def test_no_metric_is_made_where_the_reference_would_miss_it() -> None:
    elsewhere = [pair for pair in imported_of_prometheus() if pair[1] not in ALLOWED.get(pair[0], set()) | EVERYWHERE]

    assert elsewhere == []


@pytest.fixture(scope="module")
def page() -> str:
    """A scrape in which everything has a value."""
    metrics = Metrics(CollectorRegistry())
    metrics.request_done("infer", 200)
    metrics.batch_done(BatchRecord(bucket=0, rows=3, padding_rows=1, device_seconds=0.002))
    metrics.request_seconds.labels("infer").observe(0.003)
    metrics.fetch_seconds.set(1)
    metrics.artifact_bytes.set(1)
    metrics.build.info({"version": "1"})
    monitor = MonitorMetrics()
    monitor.take(Report(tuple(Sample(f, ("x",) * len(f.labels), 1) for f in FAMILIES if f.labels != ("reason",))))
    metrics.registry.register(monitor)
    return generate_latest(metrics.registry).decode()


def test_a_scrape_shows_what_is_described_with_its_help_and_its_type(page: str) -> None:
    suffixes = {"counter": "_total", "info": "_info"}
    described = {(metric.name, metric.kind, metric.help) for metric in described_metrics()}
    # The text format has no type info: it is a gauge there.
    as_gauges = {(name, "gauge", text) for name, kind, text in described if kind == "info"}
    shown = {
        (family.name + suffixes.get(family.type, ""), family.type, family.documentation)
        for family in text_string_to_metric_families(page)
    }

    assert shown <= described | as_gauges


def test_labels_in_a_scrape_are_those_of_the_description(page: str) -> None:
    described = {metric.name: set(metric.labels) for metric in described_metrics()}
    for family in text_string_to_metric_families(page):
        for sample in family.samples:
            name = sample.name if sample.name in described else sample.name.rsplit("_", 1)[0]
            if name != "neuron_model_build_info":
                assert set(sample.labels) - {"le"} == described[name], sample


def test_no_name_is_a_histograms_series_and_a_metric_of_its_own(page: str) -> None:
    names = [family.name for family in text_string_to_metric_families(page)]

    assert len(names) == len(set(names))
