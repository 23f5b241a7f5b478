"""Rows in, rows out: the count that decides between 200 and 429."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_runtime.admission import Admission, capacity_rows
from neuron_runtime.errors import QueueFullError, TooLargeError


def admission(capacity: int = 10, most: int = 8, seconds_per_row: float = 0.5) -> Admission:
    return Admission(capacity, most, lambda: seconds_per_row)


def test_the_queue_fills_by_rows_and_a_start_makes_room() -> None:
    gate = admission()
    first = gate.admit(8)
    with pytest.raises(QueueFullError, match="8 of 10 rows wait"):
        gate.admit(3)
    first.started(5)

    assert gate.admit(7)
    assert gate.waiting_rows == 10
    with pytest.raises(QueueFullError):
        gate.check_room()


def test_more_rows_than_allowed_at_once_is_another_error() -> None:
    with pytest.raises(TooLargeError, match="has 9 rows, at most 8"):
        admission().admit(9)


@pytest.mark.parametrize(("pace", "seconds"), [(0.0001, 1), (0.5, 4), (100, 30)])
def test_retry_after_follows_the_pace_within_limits(pace: float, seconds: int) -> None:
    gate = admission(capacity=8, seconds_per_row=pace)
    gate.admit(8)
    with pytest.raises(QueueFullError) as refused:
        gate.admit(1)

    assert refused.value.retry_after_seconds == seconds


def test_rows_returned_by_a_lost_worker_are_never_refused() -> None:
    gate = admission(capacity=8)
    permit = gate.admit(8)
    permit.started(8)
    gate.admit(8)
    permit.returned(8)

    assert gate.waiting_rows == 16


@pytest.mark.parametrize(
    ("asked", "batch_rows", "row_bytes", "rows"),
    [
        pytest.param(0, 2, 64, 256, id="at least 256 by default"),
        pytest.param(0, 64, 4, 2048, id="32 full batches for each worker"),
        pytest.param(10, 64, 4, 10, id="as asked"),
        pytest.param(0, 16, 1000, 100, id="as many large rows as fit into 100 kB"),
        pytest.param(1000, 16, 90_000, 16, id="a full batch for each worker, whatever it takes"),
    ],
)
def test_the_queue_holds(asked: int, batch_rows: int, row_bytes: int, rows: int) -> None:
    assert capacity_rows(asked, batch_rows, row_bytes, most_bytes=100_000) == rows


@settings(max_examples=50)
@given(st.lists(st.tuples(st.integers(1, 8), st.integers(0, 8)), max_size=30))
def test_nothing_leaks_whatever_the_requests_do(plans: list[tuple[int, int]]) -> None:
    gate = admission(capacity=1000)
    for rows, started in plans:
        with gate.admit(rows) as permit:
            permit.started(min(rows, started))
    assert gate.waiting_rows == 0
