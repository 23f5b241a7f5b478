"""neuron-monitor's newest report and the counters summed over all of them, as Prometheus reads them.

Written by `neuron_monitor`, which runs the program; scraped through the registry. `neuron_monitor_up` is decided here.
"""

import time
from collections.abc import Callable, Iterator

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from neuron_runtime.monitor_report import FAMILIES, UP, Family, Report

SILENCE_SECONDS = 30.0
MOST_COUNTERS = 4096


class MonitorMetrics(Collector):
    """`trouble` says why there is no report, as far as that is known."""

    def __init__(self, silence_seconds: float = SILENCE_SECONDS, clock: Callable[[], float] = time.monotonic) -> None:
        self._silence_seconds = silence_seconds
        self._clock = clock
        self._newest: Report | None = None
        self._newest_at = 0.0
        self._ours_at: float | None = None
        self._totals: dict[tuple[Family, tuple[str, ...]], float] = {}
        self.trouble = "no report yet"

    def take(self, report: Report) -> None:
        self._newest, self._newest_at = report, self._clock()
        if report.tags:
            self._ours_at = self._newest_at
        for sample in report.samples:
            key = (sample.family, sample.labels)
            if sample.family.kind == "counter" and (key in self._totals or len(self._totals) < MOST_COUNTERS):
                self._totals[key] = self._totals.get(key, 0.0) + sample.value

    def status(self) -> str:
        """Empty while our workers are being reported, else the reason why not."""
        if self._newest is None:
            return self.trouble
        now = self._clock()
        if self._ours_at is not None and now - self._ours_at <= self._silence_seconds:
            return ""
        if now - self._newest_at <= self._silence_seconds:
            return "neuron-monitor reports none of this pod's workers"
        return f"no report for {self._silence_seconds:g} s ({self.trouble})"

    def collect(self) -> Iterator[Metric]:
        reason = self.status()
        up = GaugeMetricFamily(UP.name, UP.help, labels=UP.labels)
        up.add_metric([reason], 0.0 if reason else 1.0)
        yield up
        newest = self._newest
        values = self._totals.copy()  # in one step: the event loop may add to it while this thread goes through it
        if newest is not None and not reason:
            for sample in newest.samples:
                if sample.family.kind != "counter":
                    values.setdefault((sample.family, sample.labels), sample.value)
        for family in FAMILIES:
            rows = [(labels, value) for (other, labels), value in values.items() if other is family]
            if rows:
                yield _metric(family, rows)

    def describe(self) -> Iterator[Metric]:
        """Nothing: the registry then does not collect at registration."""
        return iter(())


def _metric(family: Family, rows: list[tuple[tuple[str, ...], float]]) -> Metric:
    if family.kind == "info":
        info = InfoMetricFamily(family.name, family.help)
        for labels, _ in rows:
            info.add_metric([], dict(zip(family.labels, labels, strict=True)))
        return info
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, value in rows:
        metric.add_metric(labels, value)
    return metric
