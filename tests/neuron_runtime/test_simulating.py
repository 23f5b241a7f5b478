"""The policy at work in simulated time: what a user of simulate-batching sees, and promises over whole runs."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_runtime.batch_policy import Buckets, Limits, Take, Wait
from neuron_runtime.buckets import Form
from neuron_runtime.simulating import run
from neuron_runtime.simulating.flags import poisson
from neuron_runtime.simulating.simulation import Arrival, Device, Run, Simulation

SERVICE_SECONDS = 0.0023
HOP_SECONDS = 0.0002
ONE_BUCKET = Buckets((Form(((1,),), ((8, 0),)),), [SERVICE_SECONDS])
TWO_CORES = Device(cores=2, in_flight=2, hop_seconds=HOP_SECONDS)
LIMIT = 2 * 8 / SERVICE_SECONDS


def closed_loop(clients: int, seconds: float = 1.0, window: float = 0.0005) -> Run:
    return Simulation(TWO_CORES, ONE_BUCKET, Limits(window)).closed_loop(clients, seconds)


def open_loop(arrivals: list[Arrival], device: Device = TWO_CORES, window: float = 0.0005) -> Run:
    return Simulation(device, ONE_BUCKET, Limits(window)).open_loop(arrivals)


def latencies(result: Run) -> list[float]:
    return [request.answered_at - request.arrived_at for request in result.requests]


def test_a_lone_client_never_waits_for_company() -> None:
    result = closed_loop(clients=1, window=0.1)

    assert max(latencies(result)) == pytest.approx(SERVICE_SECONDS + 2 * HOP_SECONDS)
    assert not any(isinstance(step.decision, Wait) for step in result.steps)


@pytest.mark.parametrize("in_flight", [1, 2])
def test_enough_clients_keep_every_core_busy(in_flight: int) -> None:
    """Also where a core takes one call at a time: its worker has the next batch before the front knows of the end."""
    result = Simulation(Device(2, in_flight, HOP_SECONDS), ONE_BUCKET, Limits(0)).closed_loop(64, 1.0)

    assert len(result.requests) / result.ended_at == pytest.approx(LIMIT, rel=0.02)
    assert min(core.busy_seconds / result.ended_at for core in result.cores) > 0.98


@pytest.mark.parametrize("load", [0.2, 0.5, 0.8])
def test_at_four_fifths_of_the_limit_one_in_a_hundred_waits_for_three_service_times(load: float) -> None:
    result = open_loop(list(poisson(load * LIMIT, 1.0, 7, ONE_BUCKET.forms)))

    assert np.percentile(latencies(result), 99) <= 3 * SERVICE_SECONDS + 0.0005


arrivals = st.lists(st.builds(Arrival, st.floats(0, 0.05), st.integers(1, 30)), max_size=40)


@settings(max_examples=60)
@given(arrivals, st.integers(1, 3), st.integers(1, 3))
def test_everybody_is_answered_after_a_bounded_number_of_batches(
    trace: list[Arrival], cores: int, in_flight: int
) -> None:
    result = open_loop(trace, Device(cores, in_flight, HOP_SECONDS))

    assert all(request.rows_left == 0 and request.answered_at > request.arrived_at for request in result.requests)
    takes = [step.decision for step in result.steps if isinstance(step.decision, Take)]
    assert sum(rows for take in takes for _, rows in take.picks) == sum(arrival.rows for arrival in trace)
    order = [request.number for take in takes for request, _ in take.picks]
    assert order == sorted(order), "with one form nobody overtakes"


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "arrivals.csv"
    path.write_text("at_seconds,rows,length\n0,1,20\n0.001,12,20\n0.002,1,100\n")
    return path


def test_the_command_shows_every_decision_and_what_they_came_to(
    trace: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    flags = ["--bucket", "8x32=2ms", "--bucket", "8x128=4ms", "--cores", "1", "--hop-microseconds", "0"]
    assert run([*flags, "--trace", str(trace)]) == 0

    assert capsys.readouterr().out.splitlines() == [
        "        ms  waiting  decision",
        "     0.000        1  core 0 at once: 1 of 8 rows, request 0",
        "     1.000       12  core 0 from 2.000: 8 of 8 rows, request 1",
        "     1.000        4  every core has all the calls it takes",
        "     2.000        5  every core is busy and the next batch is not full",
        "     4.000        5  core 0 at once: 4 of 8 rows, request 1",
        "     4.000        1  every core is busy and the next batch is not full",
        "     6.000        1  core 0 at once: 1 of 8 rows, request 2",
        "",
        "requests   3 in 0.010 s, 1400 rows/s",
        "latency    p50 5.000 ms, p99 8.000 ms, max 8.000 ms",
        "waiting    p50 1.000 ms, p99 4.000 ms, max 4.000 ms",
        "bucket     0: batch 8, 2 ms, 3 batches, 4.33 rows each",
        "bucket     1: batch 8, 4 ms, 1 batches, 1.00 rows each",
        "cores      100.0 % busy",
    ]


def test_the_same_arguments_give_the_same_decisions(capsys: pytest.CaptureFixture[str]) -> None:
    flags = ["--bucket", "1=0.6ms", "--bucket", "8=2.3ms", "--rate", "4000", "--seconds", "0.2", "--show", "1000"]
    run(flags)
    first = capsys.readouterr().out
    run(flags)

    assert capsys.readouterr().out == first
    run([*flags, "--seed", "2"])
    assert capsys.readouterr().out != first


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ("at,rows\n1,1\n", "line 2: at_seconds, rows and length must be numbers"),
        ("at_seconds\nsoon\n", "line 2: at_seconds, rows and length must be numbers"),
        ("at_seconds,rows,length\n0,1,1\n0,1,999\n", "line 3: no bucket holds 1 rows of length 999"),
        ("at_seconds,rows\n0,0\n", "line 2: no bucket holds 0 rows"),
    ],
)
def test_a_trace_that_cannot_be_used_is_refused_by_line(
    content: str, told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.csv").write_text(content)

    assert run(["--bucket", "8=2ms", "--trace", str(tmp_path / "bad.csv")]) == 2
    assert told in capsys.readouterr().err


@pytest.mark.parametrize("flags", [["--bucket", "8"], ["--bucket", "0=1ms"], ["--bucket", "8=2ms", "--cores", "0"]])
def test_arguments_that_make_no_device_are_refused(flags: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        run([*flags, "--rate", "100"])
    assert "error: argument" in capsys.readouterr().err
