"""The gate: open only until its deadline, and closed by whoever first finds that over."""

import asyncio

import pytest

from neuron_operator.errors import LeadershipLostError
from neuron_operator.gate import Gate, uptime_s


class Clock:
    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def gate(clock: Clock) -> Gate:
    return Gate(clock)


def test_a_closed_gate_lets_no_write_through(gate: Gate) -> None:
    with pytest.raises(LeadershipLostError):
        gate.ensure_open()


def test_without_a_deadline_it_stays_open(gate: Gate, clock: Clock) -> None:
    gate.open()
    clock.now_s += 1e9
    gate.ensure_open()


@pytest.mark.parametrize(
    ("slept_s", "is_open"),
    [
        pytest.param(4.9, True, id="before-the-deadline"),
        pytest.param(5.0, False, id="at-the-deadline"),
        pytest.param(600.0, False, id="long-after-as-one-that-was-stopped"),
    ],
)
def test_nobody_needs_to_close_it(gate: Gate, clock: Clock, slept_s: float, is_open: bool) -> None:
    gate.open(clock.now_s + 5.0)
    clock.now_s += slept_s
    assert gate.is_open is is_open
    if not is_open:
        with pytest.raises(LeadershipLostError):
            gate.ensure_open()


def test_it_stays_shut_after_the_deadline_although_the_clock_is_not_looked_at_again(gate: Gate, clock: Clock) -> None:
    gate.open(clock.now_s + 5.0)
    clock.now_s += 5.0
    assert not gate.is_open
    clock.now_s -= 5.0
    assert not gate.is_open


def test_opened_again_in_time_it_has_been_open_all_along(gate: Gate, clock: Clock) -> None:
    assert gate.open_for_s() == 0
    for _ in range(3):
        gate.open(clock.now_s + 5.0)
        clock.now_s += 4.0
    assert gate.open_for_s() == 12.0
    clock.now_s += 1.0
    assert gate.open_for_s() == 0
    gate.open(clock.now_s + 5.0)
    clock.now_s += 1.0
    assert gate.open_for_s() == 1.0


async def test_waiting_ends_with_the_next_opening_not_with_one_that_is_over(gate: Gate, clock: Clock) -> None:
    gate.open(clock.now_s + 5.0)
    clock.now_s += 5.0
    waiting = asyncio.create_task(gate.wait_until_open())
    await asyncio.sleep(0)
    assert not waiting.done()
    gate.open(clock.now_s + 5.0)
    async with asyncio.timeout(60):
        await waiting


def test_the_clock_goes_forward() -> None:
    before = uptime_s()
    assert uptime_s() >= before > 0
