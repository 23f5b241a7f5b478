"""The hot path's counters and histograms say what prometheus_client's own would say."""

import threading

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.registry import Collector

from neuron_runtime.hot_metrics import CounterFamily, FactGauge, HistogramFamily

BOUNDS = (0.001, 0.25, 1.0, 10.0)
VALUES = (0.0, 0.001, 0.0010001, 0.2, 0.25, 0.9, 1.0, 9.99, 10.0, 11.0, 1e9)


def page(*collectors: Collector) -> str:
    registry = CollectorRegistry()
    for collector in collectors:
        registry.register(collector)
    return generate_latest(registry).decode()


def without_created(text: str) -> list[str]:
    return [line for line in text.splitlines() if "_created" not in line]


def test_a_histogram_is_scraped_as_prometheus_clients_own() -> None:
    theirs = Histogram("h_seconds", "Help.", ("api",), buckets=BOUNDS, registry=None)
    ours = HistogramFamily("h_seconds", "Help.", BOUNDS, ("api",))
    for value in VALUES:
        theirs.labels("infer").observe(value)
        ours.labels("infer").observe(value)

    assert page(ours).splitlines() == without_created(page(theirs))


def test_a_counter_is_scraped_as_prometheus_clients_own() -> None:
    theirs = Counter("c", "Help.", ("api", "code"), registry=None)
    ours = CounterFamily("c", "Help.", ("api", "code"))
    for api, code in (("infer", "200"), ("infer", "429"), ("infer", "200")):
        theirs.labels(api, code).inc(2)
        ours.labels(api, code).inc(2)

    assert page(ours).splitlines() == without_created(page(theirs))


def test_a_series_without_labels_is_there_before_the_first_count() -> None:
    ours = CounterFamily("c", "Help.")
    ours.labels()

    assert "c_total 0.0" in page(ours)


def test_the_same_labels_are_the_same_series() -> None:
    ours = CounterFamily("c", "Help.", ("api",))

    assert ours.labels("a") is ours.labels("a")
    assert ours.labels("a") is not ours.labels("b")


def test_labels_of_the_wrong_number_are_a_bug() -> None:
    with pytest.raises(AssertionError, match="for the labels"):
        CounterFamily("c", "Help.", ("api", "code")).labels("infer")


def test_a_name_is_registered_once() -> None:
    registry = CollectorRegistry()
    registry.register(HistogramFamily("h", "Help.", BOUNDS))

    with pytest.raises(ValueError, match="Duplicated timeseries"):
        registry.register(HistogramFamily("h", "Help.", BOUNDS))


def test_a_fact_is_absent_until_it_is_known() -> None:
    fact = FactGauge("f_seconds", "Help.")
    before = page(fact)
    fact.set(2.5)

    assert "f_seconds " not in before.replace("# HELP f_seconds ", "").replace("# TYPE f_seconds ", "")
    assert "f_seconds 2.5" in page(fact)


def test_scrapes_during_writes_see_whole_histograms_that_only_grow() -> None:
    """A scrape runs in a thread of its own; new series appear and values change under it."""
    family = HistogramFamily("h", "Help.", BOUNDS, ("api",))
    registry = CollectorRegistry()
    registry.register(family)
    over = threading.Event()
    scrapes: list[list[tuple[str, float]]] = []

    def scrape() -> None:
        while not over.is_set() or not scrapes:
            (collected,) = registry.collect()
            scrapes.append([(f"{s.name}{s.labels}", s.value) for s in collected.samples if s.name != "h_sum"])

    thread = threading.Thread(target=scrape)
    thread.start()
    for number in range(20_000):
        family.labels(str(number % 500)).observe(number % 13)
    over.set()
    thread.join()
    scrapes.append([(f"{s.name}{s.labels}", s.value) for s in next(iter(registry.collect())).samples])

    seen: dict[str, float] = {}
    for samples in scrapes:
        for series, value in samples:
            assert value >= seen.get(series, 0.0)
            seen[series] = value
    assert sum(value for series, value in seen.items() if series.startswith("h_count")) == 20_000
