"""AWS's published rows as simulated devices, and what is said of each row is true."""

import pytest

from neuron_runtime.benchmark_rows import (
    Judgment,
    Replay,
    device_rows,
    find_row,
    judgments,
    published,
    replayable_rows,
)
from neuron_runtime.termination import FatalError

SLOWEST_REPLAYED_SECONDS = 0.25


@pytest.mark.parametrize(
    ("name", "cores", "in_flight", "batch_size", "service_ms"),
    [
        pytest.param("resnet18", 2, 2, 8, 2.304, id="a batched CNN keeps two calls in flight on each core"),
        pytest.param("bert-base-uncased:batch", 2, 1, 8, 5.805, id="an encoder keeps one"),
        pytest.param("resnet18:real-time", 1, 1, 1, 0.611, id="a real-time CNN used one core"),
    ],
)
def test_rows(name: str, cores: int, in_flight: int, batch_size: int, service_ms: float) -> None:
    row = find_row(name)

    assert (row.cores, row.in_flight, row.batch_size) == (cores, in_flight, batch_size)
    assert row.service_seconds * 1000 == pytest.approx(service_ms, abs=0.001)


def test_the_row_with_a_copied_throughput_is_left_out() -> None:
    assert "bert-base-cased:batch" in device_rows()
    assert "bert-base-cased:real-time" not in device_rows()


def test_an_unknown_row_lists_the_known() -> None:
    with pytest.raises(FatalError, match="no benchmark row 'gpt'") as refused:
        find_row("gpt")

    assert "resnet18:batch" in refused.value.hint


def judged() -> list[tuple[dict[str, str], Judgment]]:
    return list(zip(published(), judgments(), strict=True))


def test_every_published_row_is_judged_under_its_own_name() -> None:
    for number, (record, judgment) in enumerate(judged(), start=1):
        mode = record["application_type"].lower().replace(" ", "-")
        assert (judgment.number, judgment.name) == (number, f"{record['model']}:{mode}")


def test_a_row_that_is_not_replayed_says_why() -> None:
    assert [judgment for judgment in judgments() if judgment.replay is not Replay.YES and not judgment.reason] == []


def test_only_rows_that_fill_within_a_run_are_replayed() -> None:
    slow = {judgment.name for judgment in judgments() if judgment.replay is Replay.SLOW}

    assert [row for row in replayable_rows() if row.service_seconds > SLOWEST_REPLAYED_SECONDS] == []
    assert all(device_rows()[name].service_seconds > SLOWEST_REPLAYED_SECONDS for name in slow)


def test_a_copy_names_the_row_it_repeats() -> None:
    records = published()
    copies = [judgment for judgment in judgments() if judgment.replay is Replay.COPY]

    assert copies
    for judgment in copies:
        original = int(judgment.reason.removeprefix("the same line as row "))
        assert records[original - 1] == records[judgment.number - 1]
        assert original < judgment.number


def test_no_line_is_replayed_twice() -> None:
    replayed = [tuple(record.values()) for record, judgment in judged() if judgment.replay is Replay.YES]

    assert len(set(replayed)) == len(replayed)


def test_token_generation_is_not_replayed() -> None:
    units = {record["throughput_unit"] for record, judgment in judged() if judgment.replay is Replay.YES}

    assert units == {"inferences/s"}
