"""The queue: coalescing, one worker per key, later and ever later."""

import asyncio
import random

import pytest

from neuron_operator import workqueue
from neuron_operator.workqueue import LONGEST_RETRY_S, WorkQueue, backoff_s


async def test_keys_come_in_order_and_twice_added_is_once_taken() -> None:
    queue = WorkQueue[str]()
    for key in ("a", "b", "a"):
        queue.add(key)
    assert [await queue.take(), await queue.take()] == ["a", "b"]
    assert queue.depth == 0


async def test_a_key_added_while_it_is_worked_on_comes_back_only_when_it_is_done() -> None:
    queue = WorkQueue[str]()
    queue.add("a")
    await queue.take()
    queue.add("a")
    queue.add("a")
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 0.01)
    queue.done("a")
    assert await queue.take() == "a"
    queue.done("a")
    assert queue.depth == 0


async def test_a_waiting_worker_wakes_up() -> None:
    queue = WorkQueue[str]()
    takers = [asyncio.create_task(queue.take()) for _ in range(2)]
    await asyncio.sleep(0)
    queue.add("a")
    queue.add("b")
    assert sorted(await asyncio.gather(*takers)) == ["a", "b"]


async def test_of_several_later_times_the_earliest_counts() -> None:
    queue = WorkQueue[str]()
    queue.add_after("a", 30)
    queue.add_after("a", 0.01)
    queue.add_after("a", 30)
    assert await asyncio.wait_for(queue.take(), 60) == "a"
    queue.close()


@pytest.mark.parametrize(
    ("attempt", "chance", "seconds"),
    [
        (1, 0.0, 0.1),
        (1, 1.0, 0.05),
        (2, 0.0, 0.2),
        (5, 0.0, 1.6),
        (10, 0.0, 51.2),
        (11, 0.0, 60.0),
        (10_000, 0.0, 60.0),
    ],
)
def test_backoff_doubles_up_to_a_minute(attempt: int, chance: float, seconds: float) -> None:
    assert backoff_s(attempt, chance) == pytest.approx(seconds)


async def test_retries_grow_until_the_key_does_well() -> None:
    queue = WorkQueue[str](chance=random.Random(1))
    delays = [queue.retry("a") for _ in range(12)]
    assert delays[-1] >= LONGEST_RETRY_S / 2 > delays[0]
    queue.forget("a")
    assert queue.retry("a") <= 0.1
    assert queue.retry("b", at_least_s=7) == 7
    queue.close()


async def test_the_oldest_age_covers_waiting_and_running_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = WorkQueue[str]()
    now = 100.0
    monkeypatch.setattr(workqueue, "_now", lambda: now)
    assert queue.oldest_age_s() == 0
    queue.add("a")
    await queue.take()
    now = 107.0
    queue.add("b")
    now = 110.0
    assert queue.oldest_age_s() == 10
    queue.done("a")
    assert queue.oldest_age_s() == 3
