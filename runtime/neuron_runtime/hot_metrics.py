"""Counters and histograms that cost the request path next to nothing: plain numbers now, Prometheus' shape at a scrape.

`metrics` declares them. prometheus_client's own take a lock and walk their buckets at each observation. These need no
lock because only the event loop's thread writes: a scrape, in another thread, copies whole numbers that only grow, so
the worst it sees is a request that is in a bucket and not yet in the sum.
"""

from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from itertools import accumulate
from threading import Lock
from typing import Generic, TypeVar

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily, Metric
from prometheus_client.registry import Collector


class HotCounter:
    __slots__ = ("value",)

    def __init__(self) -> None:
        self.value = 0

    def inc(self, amount: int = 1) -> None:
        self.value += amount


class HotHistogram:
    """`bounds` ascending, without infinity; the last of `counts` is what lies beyond them."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: Sequence[float]) -> None:
        self.bounds = tuple(bounds)
        self.counts = [0] * (len(self.bounds) + 1)
        self.total = 0.0

    def observe(self, value: float) -> None:
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value


Series = TypeVar("Series")


class _Family(Generic[Series]):
    """All series of one name. `labels` makes a series when it is first asked for; keep what it returns."""

    def __init__(self, label_names: Sequence[str], make: Callable[[], Series]) -> None:
        self.label_names = tuple(label_names)
        self._make = make
        self._series: dict[tuple[str, ...], Series] = {}
        self._lock = Lock()

    def labels(self, *values: str) -> Series:
        series = self._series.get(values)
        if series is None:
            assert len(values) == len(self.label_names), f"{values} for the labels {self.label_names}"
            with self._lock:  # a scrape must not find the dictionary growing under it
                series = self._series.setdefault(values, self._make())
        return series

    def snapshot(self) -> list[tuple[tuple[str, ...], Series]]:
        with self._lock:
            return list(self._series.items())


class CounterFamily(_Family[HotCounter], Collector):
    """`name` without _total."""

    def __init__(self, name: str, documentation: str, label_names: Sequence[str] = ()) -> None:
        super().__init__(label_names, HotCounter)
        self._name, self._documentation = name, documentation

    def describe(self) -> Iterator[Metric]:
        yield CounterMetricFamily(self._name, self._documentation, labels=self.label_names)

    def collect(self) -> Iterator[Metric]:
        family = CounterMetricFamily(self._name, self._documentation, labels=self.label_names)
        for values, counter in self.snapshot():
            family.add_metric(values, counter.value)
        yield family


class HistogramFamily(_Family[HotHistogram], Collector):
    def __init__(self, name: str, documentation: str, bounds: Sequence[float], label_names: Sequence[str] = ()) -> None:
        super().__init__(label_names, lambda: HotHistogram(bounds))
        self._name, self._documentation = name, documentation
        self._bounds = [*(str(float(bound)) for bound in bounds), "+Inf"]

    def describe(self) -> Iterator[Metric]:
        yield HistogramMetricFamily(self._name, self._documentation, labels=self.label_names)

    def collect(self) -> Iterator[Metric]:
        family = HistogramMetricFamily(self._name, self._documentation, labels=self.label_names)
        for values, histogram in self.snapshot():
            counted = accumulate(histogram.counts.copy())
            family.add_metric(values, list(zip(self._bounds, counted, strict=True)), histogram.total)
        yield family


class FactGauge(Collector):
    """A figure that is not known everywhere: no series at all until it is set, because 0 would be a statement."""

    def __init__(self, name: str, documentation: str) -> None:
        self._name, self._documentation = name, documentation
        self._value: float | None = None

    def set(self, value: float) -> None:
        self._value = value

    def describe(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(self._name, self._documentation)

    def collect(self) -> Iterator[Metric]:
        yield GaugeMetricFamily(self._name, self._documentation, value=self._value)
