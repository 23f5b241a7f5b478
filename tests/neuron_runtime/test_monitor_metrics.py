"""What a scrape says about the newest report: up or why not, gauges while they are fresh, counters for good."""

from collections.abc import Iterator

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from neuron_runtime.monitor_metrics import MOST_COUNTERS, SILENCE_SECONDS, MonitorMetrics
from neuron_runtime.monitor_report import ERRORS, STATUS, UTILIZATION, Report, Sample

LABELS = ("n", "i", "t", "z", "r", "s", "us/nc0")
BUSY = Sample(UTILIZATION, (*LABELS, "0"), 0.5)
DONE = Sample(STATUS, (*LABELS, "completed"), 3)
OURS = Report((BUSY, DONE), frozenset({"us/nc0"}))
NOTHING_OF_OURS = Report(())


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def metrics(clock: Clock) -> MonitorMetrics:
    return MonitorMetrics(clock=clock)


def page(metrics: MonitorMetrics) -> str:
    registry = CollectorRegistry()
    registry.register(metrics)
    return generate_latest(registry).decode()


def test_before_the_first_report_it_is_down(metrics: MonitorMetrics) -> None:
    assert 'neuron_monitor_up{reason="no report yet"} 0.0' in page(metrics)


def test_a_fresh_report_is_up_with_its_gauges_and_sums(metrics: MonitorMetrics) -> None:
    metrics.take(OURS)
    metrics.take(OURS)

    assert 'neuron_monitor_up{reason=""} 1.0' in page(metrics)
    assert 'neuroncore="0",region="r",runtime_tag="us/nc0",subnet_id="s"} 0.5' in page(metrics)
    assert 'status_type="completed",subnet_id="s"} 6.0' in page(metrics)


def test_silence_is_down_without_gauges_but_counters_stay(metrics: MonitorMetrics, clock: Clock) -> None:
    metrics.take(OURS)
    clock.now += SILENCE_SECONDS + 1
    metrics.trouble = "it sleeps"

    assert 'neuron_monitor_up{reason="no report for 30 s (it sleeps)"} 0.0' in page(metrics)
    assert "neuroncore_utilization_ratio{" not in page(metrics)
    assert 'status_type="completed",subnet_id="s"} 3.0' in page(metrics)


def test_reports_of_nobody_are_down_for_that_reason(metrics: MonitorMetrics, clock: Clock) -> None:
    metrics.take(OURS)
    clock.now += SILENCE_SECONDS + 1
    metrics.take(NOTHING_OF_OURS)

    assert metrics.status() == "neuron-monitor reports none of this pod's workers"


def test_a_worker_that_is_replaced_does_not_flap(metrics: MonitorMetrics) -> None:
    metrics.take(OURS)
    metrics.take(NOTHING_OF_OURS)

    assert metrics.status() == ""


def test_counters_are_bounded_and_known_ones_go_on(metrics: MonitorMetrics) -> None:
    def strangers(first: int) -> Iterator[Sample]:
        for number in range(first, first + MOST_COUNTERS):
            yield Sample(ERRORS, (*LABELS, f"kind-{number}"), 1)

    for first in (0, MOST_COUNTERS, 2 * MOST_COUNTERS):
        metrics.take(Report((*strangers(first), DONE), frozenset({"us/nc0"})))
    metrics.take(Report((Sample(ERRORS, (*LABELS, "kind-0"), 1),), frozenset({"us/nc0"})))

    rows = [line for line in page(metrics).splitlines() if line.startswith("execution_")]
    assert len(rows) == MOST_COUNTERS
    assert any('error_type="kind-0"' in row and row.endswith(" 2.0") for row in rows)
