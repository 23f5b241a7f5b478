"""The arithmetic of the figures, without a server."""

import dataclasses
import json
from collections.abc import Sequence

import numpy as np
import pytest

from bench.closed_loop import summarized
from bench.device import SimulatedDevice, of_row
from bench.errors import BenchError
from bench.figures import FIGURES, cores, load, overload, rows
from bench.findings import Finding
from bench.payload import open_inference, plain_batch
from bench.scale import BENCH, FULL, SMOKE
from neuron_runtime.benchmark_rows import DeviceRow, find_row, replayable_rows
from neuron_runtime.benchmarking.measurement import Measurement
from neuron_runtime.settings import ServeSettings

RESNET18 = of_row(find_row("resnet18:batch"))


def measured(latency_ms: float, refusal_ms: float = 1.0, lag_ms: float = 0.1, answered: int = 1300) -> Measurement:
    return Measurement(
        kind="open",
        clients_or_rate=4000.0,
        seconds=1.0,
        answered=answered,
        completed=4000,
        codes={200: answered, 429: 4000 - answered},
        failures={},
        latencies_seconds=np.full(answered, latency_ms / 1000),
        refusal_latencies_seconds=np.full(4000 - answered, refusal_ms / 1000),
        lag_p99_seconds=lag_ms / 1000,
        generator_cpu_share=0.5,
    )


@pytest.mark.parametrize("name", list(FIGURES))
def test_every_figure_has_its_module(name: str) -> None:
    assert callable(load(name))


def test_the_device_of_a_row_has_clients_for_twice_what_is_in_flight() -> None:
    assert (RESNET18.clients, RESNET18.in_flight) == (64, 2)
    assert RESNET18.rows_per_second == pytest.approx(6944.75)


def test_the_flags_of_a_device_are_settings_of_serve() -> None:
    settings = ServeSettings.load(RESNET18.flags)

    assert (settings.cores, settings.max_batch_size, settings.in_flight) == (2, 8, 2)
    assert settings.simulated_service_ms == RESNET18.service_ms


def test_short_batches_may_cost_a_little_more_of_the_limit() -> None:
    assert rows.target_of(RESNET18).value == 0.97
    assert rows.target_of(of_row(find_row("resnet18:real-time"))).value == 0.90


def test_the_handful_of_rows_is_replayable_and_has_both_targets() -> None:
    names = {row.name for row in replayable_rows()}
    targets = {rows.target_of(of_row(find_row(name))) for name in rows.HANDFUL}

    assert set(rows.HANDFUL) <= names
    assert len(targets) == 2


def test_the_rows_are_summed_up_by_the_least_with_each_target() -> None:
    of_long, of_short = rows.SHARE_LONG, rows.SHARE_SHORT
    found = [
        Finding("rows", name, "share", (measured,), target)
        for name, measured, target in (("a", 0.98, of_long), ("b", 0.95, of_long), ("c", 0.92, of_short))
    ]

    long, short = rows.worst(found)

    assert (long.measured, long.verdict, short.measured, short.verdict) == (0.95, "not met", 0.92, "met")
    assert long.name == "1 of 2 rows of 2 ms a batch and more reach their target; the least"


def test_rows_that_have_a_result_are_not_measured_again(monkeypatch: pytest.MonkeyPatch) -> None:
    def result(row: DeviceRow, share: float, void: str = "") -> Finding:
        return Finding("rows", rows.name_of(row), "share", (share,), rows.SHARE_LONG, void=void)

    first, second, *others = (find_row(name) for name in rows.HANDFUL)
    kept = [result(first, 0.5), result(second, 0.5, void="the hypervisor"), *(result(row, 0.5) for row in others)]
    monkeypatch.setattr(rows, "replayed", lambda scale, row: result(row, 0.9))
    found = {finding.name: finding.measured for finding in rows.measure(BENCH, kept)}
    assert (found[rows.name_of(first)], found[rows.name_of(second)]) == (0.5, 0.9)


def test_slow_rows_run_for_longer_but_not_in_a_smoke_test() -> None:
    slow = SimulatedDevice(cores=2, batch_size=64, in_flight=2, service_ms=52.7)

    assert rows.seconds_for(slow, FULL) == 8
    assert rows.seconds_for(RESNET18, BENCH) == BENCH.short_seconds
    assert rows.seconds_for(slow, SMOKE) == SMOKE.short_seconds


def test_few_and_many_cores_answer_as_many_rows() -> None:
    few, many = cores.device_of(cores.FEW), cores.device_of(cores.MANY)

    assert few.rows_per_second == many.rows_per_second == pytest.approx(4000)


def overloaded(rounds: Sequence[tuple[Measurement, Measurement]]) -> list[Finding]:
    before, during = zip(*rounds, strict=True)
    return overload.findings(list(before), list(during), limit_per_second=1330.0)


def verdicts(*rounds: tuple[Measurement, Measurement]) -> set[str]:
    return {finding.verdict for finding in overloaded(rounds) if finding.target}


def test_overload_that_hardly_slows_the_accepted_is_met() -> None:
    assert verdicts((measured(30), measured(38))) == {"met"}


def test_overload_that_slows_refuses_late_wastes_the_device_and_drops_is_not_met() -> None:
    bad = dataclasses.replace(measured(400, refusal_ms=30, answered=900), failures={"timeout": 3})

    assert verdicts((measured(30), bad)) == {"not met"}


def test_overload_by_a_generator_that_was_late_is_void() -> None:
    assert verdicts((measured(30), measured(38, lag_ms=1.5))) == {"void"}


def test_a_round_with_a_late_generator_does_not_count_and_is_told() -> None:
    good, late = (measured(30), measured(38)), (measured(30), measured(900, lag_ms=1.5))

    found = overloaded([good, late, good])

    assert {finding.verdict for finding in found if finding.target} == {"met"}
    assert found[0].note.startswith("1 of 3 runs are void: the generator")


def test_without_wrk_the_same_is_read_from_our_own_generator() -> None:
    answered = dataclasses.replace(measured(9.0, answered=4000), codes={200: 4000})

    loop = summarized(answered, "server", busy_cpu_seconds=0.1)

    assert (loop.per_second, loop.p50_seconds, loop.generator_share) == (4000.0, 0.009, 0.5)
    with pytest.raises(BenchError, match="not every request was answered"):
        summarized(measured(9.0), "server", busy_cpu_seconds=0.1)


def test_every_server_is_sent_the_same_row() -> None:
    ours = json.loads(open_inference("m").body)["inputs"][0]["data"]

    assert json.loads(plain_batch("/predict").body)["values"] == [ours]
