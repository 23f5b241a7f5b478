"""Percentiles, windows, verdicts and objectives of a benchmark, and when an open loop's requests are due."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_runtime.benchmarking.arrivals import poisson_arrivals
from neuron_runtime.benchmarking.measurement import (
    Measurement,
    Objective,
    Samples,
    Window,
    nearest_rank,
    summarize,
)

HUNDRED = np.arange(1.0, 101.0)
WINDOW = Window(10.0, 20.0)


def measurement(**over: Any) -> Measurement:
    """A closed loop with 100 answers of 1 to 100 seconds; overrides win."""
    valid: dict[str, Any] = {
        "kind": "closed",
        "clients_or_rate": 8,
        "seconds": 10.0,
        "answered": 100,
        "completed": 100,
        "codes": {200: 100},
        "failures": {},
        "latencies_seconds": HUNDRED,
        "refusal_latencies_seconds": np.array([]),
        "lag_p99_seconds": 0.0,
        "generator_cpu_share": 0.1,
    }
    return Measurement(**valid | over)


def samples(answers: Sequence[tuple[float, float, int]], failures: Sequence[tuple[float, str]] = ()) -> Samples:
    """From (due, done, status)."""
    made = Samples(failures=list(failures))
    for due, done, code in answers:
        made.due.append(due)
        made.done.append(done)
        made.codes.append(code)
    return made


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        pytest.param(HUNDRED, 50, 50.0, id="the median is one of the values"),
        pytest.param(HUNDRED, 99, 99.0, id="99 of 100"),
        pytest.param(HUNDRED, 99.9, 100.0, id="what 99.9 % do not exceed is the last of 100"),
        pytest.param(HUNDRED, 100, 100.0, id="the largest"),
        pytest.param(HUNDRED, 1, 1.0, id="the smallest"),
        pytest.param(np.array([7.0]), 50, 7.0, id="one value is every percentile"),
    ],
)
def test_percentiles_by_nearest_rank(values: Any, percent: float, expected: float) -> None:
    assert nearest_rank(values, percent) == expected


def test_a_percentile_of_nothing_is_no_number() -> None:
    assert math.isnan(nearest_rank(np.array([]), 50))


@settings(deadline=None, max_examples=50)
@given(st.lists(st.floats(0, 1e3), min_size=1, max_size=200), st.floats(0.1, 100))
def test_a_percentile_was_measured_and_covers_its_share(values: list[float], percent: float) -> None:
    found = nearest_rank(np.array(values), percent)

    assert found in values
    assert sum(value <= found for value in values) >= len(values) * percent / 100 - 1e-6
    assert sum(value < found for value in values) <= len(values) * percent / 100 + 1e-6


def test_requests_belong_to_the_window_they_were_due_in() -> None:
    before, within, late = (9.9, 10.1, 200), (12.0, 12.5, 200), (19.9, 24.9, 200)

    found = summarize(samples([before, within, late, (20.0, 20.1, 200)]), WINDOW, ("closed", 1), 0.5)

    assert found.latencies_seconds.tolist() == pytest.approx([0.5, 5.0])
    assert found.codes == {200: 2}


def test_throughput_counts_what_arrived_within_the_window() -> None:
    made = samples([(9.9, 10.1, 200), (12.0, 12.5, 200), (19.9, 24.9, 200), (15.0, 15.1, 429)])

    found = summarize(made, WINDOW, ("open", 100.0), 0.5)

    assert (found.answered, found.completed) == (2, 3)
    assert found.answered_per_second == pytest.approx(0.2)


def test_refusals_and_failures_are_apart_from_answers() -> None:
    made = samples(
        [(11.0, 11.5, 200), (12.0, 12.1, 429), (13.0, 13.2, 503)],
        [(14.0, "timeout"), (15.0, "timeout"), (16.0, "connection closed"), (5.0, "timeout")],
    )

    found = summarize(made, WINDOW, ("open", 1.0), 0.5)

    assert found.latencies_seconds.tolist() == pytest.approx([0.5])
    assert found.refusal_latencies_seconds.tolist() == pytest.approx([0.1, 0.2])
    assert found.codes == {200: 1, 429: 1, 503: 1}
    assert found.failures == {"timeout": 2, "connection closed": 1}
    assert found.error_ratio == pytest.approx(5 / 6)


def test_lag_is_of_every_request_due_in_the_window_also_of_those_that_failed() -> None:
    made = samples([(11.0, 11.1, 200)])
    made.launched.extend([9.0, 11.0, 12.0])
    made.lag.extend([5.0, 0.001, 0.25])

    assert summarize(made, WINDOW, ("open", 1.0), 0.5).lag_p99_seconds == 0.25


def test_an_empty_run_is_all_errors() -> None:
    found = summarize(Samples(), WINDOW, ("closed", 1), 0.0)

    assert (found.answered, found.error_ratio, found.lag_p99_seconds, found.ceiling_per_second) == (0, 1.0, 0.0, 0.0)
    assert math.isnan(found.percentile(99))


@pytest.mark.parametrize(
    ("over", "was_the_limit", "reason"),
    [
        pytest.param({"generator_cpu_share": 0.89}, False, "kept up", id="some CPU left"),
        pytest.param({"generator_cpu_share": 0.9}, True, "90% of a CPU", id="no CPU left"),
        pytest.param({"kind": "open", "lag_p99_seconds": 0.001}, False, "kept up", id="a millisecond late"),
        pytest.param({"kind": "open", "lag_p99_seconds": 0.0012}, True, "1.2 ms late", id="later than a millisecond"),
        pytest.param({"lag_p99_seconds": 4.9}, False, "kept up", id="late, but little beside what clients wait"),
        pytest.param({"lag_p99_seconds": 5.0}, True, "5000.0 ms late", id="late beside what clients wait"),
        pytest.param({"kind": "open", "connection_waits": 9}, False, "kept up", id="a server that holds connections"),
    ],
)
def test_verdicts(over: dict[str, Any], was_the_limit: bool, reason: str) -> None:
    verdict = measurement(**over).verdict

    assert verdict.generator_was_the_limit is was_the_limit
    assert reason in verdict.reason


def test_the_ceiling_is_what_the_generator_could_do_at_this_cost() -> None:
    assert measurement(completed=20_000, generator_cpu_share=0.3).ceiling_per_second == pytest.approx(6_000)


@pytest.mark.parametrize(
    ("text", "seconds"), [("20ms", 0.02), ("1.5s", 1.5), ("800us", 800e-6), ("800µs", 800e-6), (" 2 s ", 2.0)]
)
def test_objectives_have_a_unit(text: str, seconds: float) -> None:
    objective = Objective.parse(text, 99.9)

    assert objective.seconds == pytest.approx(seconds)
    assert (objective.percent, objective.name) == (99.9, "p99.9")


@pytest.mark.parametrize("text", ["20", "ms", "", "-1ms", "0ms", "1m", "1e3ms", "20 ms!", "nan s"])
def test_what_is_no_duration_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(ValueError, match="such as 20ms"):
        Objective.parse(text)


@pytest.mark.parametrize(("limit", "is_met"), [("99s", True), ("98.9s", False)])
def test_an_objective_is_met_up_to_its_limit(limit: str, is_met: bool) -> None:
    assert Objective.parse(limit).is_met(measurement()) is is_met


def test_an_objective_is_not_met_by_silence() -> None:
    assert not Objective.parse("99s").is_met(measurement(latencies_seconds=np.array([])))


def test_arrivals_come_at_their_rate_with_exponential_gaps() -> None:
    arrivals = poisson_arrivals(1000, 60, seed=1)
    gaps = np.diff(arrivals)

    assert len(arrivals) == pytest.approx(60_000, rel=0.02)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.02)
    assert np.mean(gaps > 2 / 1000) == pytest.approx(math.exp(-2), rel=0.03)


def test_arrivals_in_a_second_vary_as_much_as_their_number() -> None:
    counts = np.bincount(poisson_arrivals(100, 500, seed=3).astype(int), minlength=500)

    assert counts.var() == pytest.approx(100, rel=0.15)


def test_a_seed_names_its_arrivals() -> None:
    assert poisson_arrivals(50, 10, seed=7).tolist() == poisson_arrivals(50, 10, seed=7).tolist()
    assert poisson_arrivals(50, 10, seed=7).tolist() != poisson_arrivals(50, 10, seed=8).tolist()


@settings(deadline=None, max_examples=50)
@given(st.floats(0.01, 1000), st.floats(0.01, 20), st.integers(0, 2**32))
def test_arrivals_ascend_and_end_in_time(rate: float, seconds: float, seed: int) -> None:
    arrivals = poisson_arrivals(rate, seconds, seed)

    assert np.all(np.diff(arrivals) >= 0)
    assert np.all((arrivals >= 0) & (arrivals < seconds))
