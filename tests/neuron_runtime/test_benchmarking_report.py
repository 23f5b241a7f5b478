"""The benchmark's table and JSON, goals, and the progress bar."""

import io
import json
from typing import Any

import numpy as np
import pytest

from neuron_runtime.benchmarking import command, progress
from neuron_runtime.benchmarking.measurement import Measurement, Objective
from neuron_runtime.benchmarking.report import Goals, Report, as_json, as_text, duration

TITLE = "POST http://127.0.0.1:8080/predict"
MILLISECONDS = np.arange(1.0, 1001.0) / 1000


def closed(**over: Any) -> Measurement:
    """A thousand answers in ten seconds, of 1 to 1000 ms; overrides win."""
    valid: dict[str, Any] = {
        "kind": "closed",
        "clients_or_rate": 64,
        "seconds": 10.0,
        "answered": 1000,
        "completed": 1000,
        "codes": {200: 1000},
        "failures": {},
        "latencies_seconds": MILLISECONDS,
        "refusal_latencies_seconds": np.array([]),
        "lag_p99_seconds": 0.00004,
        "generator_cpu_share": 0.02,
    }
    return Measurement(**valid | over)


def overloaded() -> Measurement:
    return closed(
        kind="open",
        clients_or_rate=3000.0,
        answered=12345,
        completed=12645,
        codes={200: 12345, 429: 300},
        failures={"timeout": 2},
        refusal_latencies_seconds=np.full(300, 0.004),
        lag_p99_seconds=0.0032,
        connection_waits=17,
    )


def silent() -> Measurement:
    return closed(clients_or_rate=1, answered=0, completed=0, codes={}, latencies_seconds=np.array([]))


def report(*measurements: Measurement, goals: Goals | None = None) -> Report:
    return Report(TITLE, measurements, goals or Goals())


GOLDEN = """\
POST http://127.0.0.1:8080/predict

load             answers/s     p50     p90     p99   p99.9     max  refused  failed  generator
1 client               0.0       -       -       -       -       -        0       0  2% CPU, lag p99 40 µs
64 clients           100.0  500 ms  900 ms  990 ms  999 ms  1.00 s        0       0  2% CPU, lag p99 40 µs
3,000/s Poisson    1,234.5  500 ms  900 ms  990 ms  999 ms  1.00 s      300       2  2% CPU, lag p99 3.20 ms

1 client: missed, nothing was answered with 2xx
64 clients: missed, p50 500 ms > 20.00 ms
3,000/s Poisson: 300 x 429, refusals answered within 4.00 ms at p99
3,000/s Poisson: 2 x timeout
3,000/s Poisson: 17 requests found all connections busy; their wait counts
3,000/s Poisson: VOID, the generator was 3.2 ms late at p99; this says nothing about the server
3,000/s Poisson: missed, p50 500 ms > 20.00 ms
3,000/s Poisson: missed, errors 23.20% > 1.00%
this generator's ceiling here: about 57,000 requests/s
"""


def test_the_table_tells_everything_once() -> None:
    goals = Goals((Objective(50.0, 0.02), Objective(99.0, 2.0)), 0.01)

    assert as_text(report(silent(), closed(), overloaded(), goals=goals)) == GOLDEN


def test_objectives_that_are_met_are_named() -> None:
    goals = Goals((Objective(50.0, 0.6), Objective(99.9, 1.5)), 0.01)

    assert as_text(report(closed(), goals=goals)).endswith("met: p50 ≤ 600 ms, p99.9 ≤ 1.50 s\n")


def test_the_document_has_every_number() -> None:
    document = json.loads(as_json(report(overloaded(), goals=Goals((Objective(99.0, 0.5),), 0.5))))

    assert document["target"] == TITLE
    assert (document["isMet"], document["generatorWasTheLimit"]) == (False, True)
    assert document["objectives"] == [{"percent": 99.0, "seconds": 0.5}]
    (row,) = document["measurements"]
    assert (row["kind"], row["ratePerSecond"], row["answeredPerSecond"]) == ("open", 3000.0, 1234.5)
    assert row["codes"] == {"200": 12345, "429": 300}
    assert row["failures"] == {"timeout": 2}
    assert row["latencySeconds"] == {"p50": 0.5, "p90": 0.9, "p99": 0.99, "p99.9": 0.999, "max": 1.0}
    assert row["refusalLatencySeconds"]["p99"] == 0.004
    assert row["generator"]["lagP99Seconds"] == 0.0032
    assert row["missed"] == ["p99 990 ms > 500 ms"]


def test_percentiles_of_nothing_are_null() -> None:
    (row,) = json.loads(as_json(report(silent())))["measurements"]

    assert set(row["latencySeconds"].values()) == {None}
    assert row["clients"] == 1


@pytest.mark.parametrize(
    ("goals", "missed"),
    [
        pytest.param(Goals(), [], id="nothing asked"),
        pytest.param(Goals((Objective(99.0, 0.99),)), [], id="on the limit"),
        pytest.param(Goals((Objective(99.0, 0.98),)), ["p99 990 ms > 980 ms"], id="over it"),
        pytest.param(Goals(most_error_ratio=0.0), ["errors 0.10% > 0.00%"], id="no error allowed"),
        pytest.param(Goals(most_error_ratio=0.001), [], id="one in a thousand allowed"),
    ],
)
def test_goals(goals: Goals, missed: list[str]) -> None:
    assert goals.misses(closed(failures={"timeout": 1})) == missed


@pytest.mark.parametrize(
    ("measurements", "code"),
    [
        pytest.param([closed()], command.Exit.MET, id="met"),
        pytest.param([closed(), silent()], command.Exit.MISSED, id="one of two missed"),
        pytest.param([closed(), closed(generator_cpu_share=0.95)], command.Exit.VOID, id="met, by a void measurement"),
        pytest.param([silent(), overloaded()], command.Exit.VOID, id="missed, and one void"),
    ],
)
def test_exit_codes(measurements: list[Measurement], code: command.Exit) -> None:
    assert command.exit_code(report(*measurements)) is code


def test_silence_misses_every_goal() -> None:
    assert not report(silent()).is_met


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0000214, "21 µs"),
        (0.000999, "999 µs"),
        (0.00345, "3.45 ms"),
        (0.0345, "34.50 ms"),
        (0.345, "345 ms"),
        (0.9996, "1.00 s"),
        (12.345, "12.35 s"),
        (float("nan"), "-"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize(
    ("fraction", "bar"), [(-1, "    "), (0, "    "), (0.125, "▌   "), (0.5, "██  "), (1, "████"), (2, "████")]
)
def test_a_bar_fills_in_eighths(fraction: float, bar: str) -> None:
    assert progress.drawn(fraction, 4) == bar


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("stream", "is_wanted", "is_shown"),
    [(Terminal(), True, True), (Terminal(), False, False), (io.StringIO(), True, False)],
)
def test_progress_is_for_terminals(
    stream: io.StringIO, is_wanted: bool, is_shown: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stderr", stream)
    bar = progress.ProgressBar(20.0, is_wanted=is_wanted)
    bar.begin("64 clients", 10.0)
    bar.update(5.0, 1234)
    bar.clear()

    assert ("5 s left  64 clients  1,234 answers" in stream.getvalue()) is is_shown
    assert bool(stream.getvalue()) is is_shown
