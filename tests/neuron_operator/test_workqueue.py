"""The queue: coalescing, one worker per key, everybody's turn, later and ever later."""

import asyncio
import random

import pytest
import uvloop
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_operator import workqueue
from neuron_operator.indices import Key
from neuron_operator.workqueue import FIRST_LOOK_EVERY, LONGEST_RETRY_S, Lanes, WorkQueue, backoff_s

A, B = Key("shop", "a"), Key("shop", "b")


async def test_keys_come_in_order_and_twice_added_is_once_taken() -> None:
    queue = WorkQueue[Key]()
    for key in (A, B, A):
        queue.add(key)
    assert [await queue.take(), await queue.take()] == [A, B]
    assert queue.depth == 0


async def test_a_key_added_while_it_is_worked_on_comes_back_only_when_it_is_done() -> None:
    queue = WorkQueue[Key]()
    queue.add(A)
    await queue.take()
    queue.add(A)
    queue.add(A)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 0.01)
    queue.done(A)
    assert await queue.take() == A
    queue.done(A)
    assert queue.depth == 0


@pytest.mark.parametrize(
    ("causes", "comes_back"),
    [
        pytest.param(["own"], False, id="its-own-doing"),
        pytest.param(["own", "own"], False, id="told-twice"),
        pytest.param(["own", "foreign"], True, id="and-somebody-else-s"),
        pytest.param(["own", None], True, id="and-something-untold"),
        pytest.param(["foreign"], True, id="somebody-else-s"),
    ],
)
async def test_what_a_look_has_caused_itself_is_no_reason_for_another(
    causes: list[str | None], comes_back: bool
) -> None:
    queue = WorkQueue[Key]()
    queue.add(A)
    await queue.take()
    for cause in causes:
        queue.add(A, cause)
    queue.excuse(A, "own")
    queue.done(A)
    assert (queue.depth == 1) == comes_back


async def test_a_look_makes_whatever_was_planned_for_later_needless() -> None:
    """It says itself when there is to be another."""
    queue = WorkQueue[Key]()
    queue.add_after(A, 0.01)
    queue.add(A)
    assert await queue.take() == A
    queue.done(A)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 0.05)


async def test_a_key_that_nobody_looked_at_is_seen_waiting_until_it_is_taken() -> None:
    queue = WorkQueue[Key](is_new=lambda key: key == B)
    queue.add(A)
    assert not queue.has_new
    queue.add(B)
    assert queue.has_new
    assert [await queue.take(), await queue.take()] == [A, B]
    assert not queue.has_new


async def test_a_waiting_worker_wakes_up() -> None:
    queue = WorkQueue[Key]()
    takers = [asyncio.create_task(queue.take()) for _ in range(2)]
    await asyncio.sleep(0)
    queue.add(A)
    queue.add(B)
    assert sorted(await asyncio.gather(*takers)) == [A, B]


async def test_of_several_later_times_the_earliest_counts() -> None:
    queue = WorkQueue[Key]()
    queue.add_after(A, 30)
    queue.add_after(A, 0.01)
    queue.add_after(A, 30)
    assert await asyncio.wait_for(queue.take(), 60) == A
    queue.close()


def test_uvloops_handle_for_what_is_due_almost_now_can_be_planned_over() -> None:
    """It has no time of its own, as the one of asyncio has."""

    async def planned_twice() -> Key:
        queue = WorkQueue[Key]()
        queue.add_after(A, 0.0001)
        queue.add_after(A, 0.0)
        return await asyncio.wait_for(queue.take(), 60)

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        assert runner.run(planned_twice()) == A


async def test_what_is_added_soon_counts_as_waiting_and_comes_once() -> None:
    queue = WorkQueue[Key]()
    queue.add_soon(A, 0.01)
    queue.add_soon(A, 0.02)
    assert queue.depth == 1
    assert await asyncio.wait_for(queue.take(), 60) == A
    assert queue.depth == 0
    queue.done(A)
    assert queue.depth == 0


async def test_a_look_that_comes_first_is_the_one_that_was_due_soon() -> None:
    queue = WorkQueue[Key]()
    queue.add_soon(A, 0.01)
    queue.add(A)
    assert queue.depth == 1
    assert await queue.take() == A
    queue.done(A)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 0.05)


async def test_after_a_look_that_failed_whatever_is_added_soon_is_added_at_once() -> None:
    queue = WorkQueue[Key]()
    queue.add(A)
    await queue.take()
    queue.retry(A, first_s=60)
    queue.done(A)
    queue.add_soon(A, 60)
    assert await asyncio.wait_for(queue.take(), 1) == A
    queue.forget(A)
    queue.done(A)
    queue.add_soon(A, 60)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 0.05)
    queue.close()


async def test_what_is_added_soon_during_a_look_comes_after_it() -> None:
    queue = WorkQueue[Key]()
    queue.add(A)
    await queue.take()
    queue.add_soon(A, 0.01)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(queue.take(), 0.05)
    queue.done(A)
    assert await asyncio.wait_for(queue.take(), 60) == A


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
    queue = WorkQueue[Key](chance=random.Random(1))
    delays = [queue.retry(A) for _ in range(12)]
    assert delays[-1] >= LONGEST_RETRY_S / 2 > delays[0]
    queue.forget(A)
    assert queue.retry(A) <= 0.1
    assert queue.retry(B, at_least_s=7) == 7
    queue.close()


async def test_a_queue_that_moves_is_not_stuck_however_long_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(workqueue, "_now", lambda: now)
    queue = WorkQueue[Key]()
    assert queue.stuck_s() == 0
    for name in (A, B, Key("shop", "c")):
        queue.add(name)
    now += 100
    assert queue.stuck_s() == 100, "nobody has taken any"
    first = await queue.take()
    now += 1
    queue.done(first)
    now += 5
    assert (queue.oldest_age_s(), queue.stuck_s()) == (106, 5)
    await queue.take()
    now += 7
    assert queue.stuck_s() == 12, "the one that waits; the one that is worked on was taken 7 s ago"
    queue.done(await queue.take())
    assert queue.stuck_s() == 7


async def test_the_oldest_age_covers_waiting_and_running_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    queue = WorkQueue[Key]()
    now = 100.0
    monkeypatch.setattr(workqueue, "_now", lambda: now)
    assert queue.oldest_age_s() == 0
    queue.add(A)
    await queue.take()
    now = 107.0
    queue.add(B)
    now = 110.0
    assert queue.oldest_age_s() == 10
    queue.done(A)
    assert queue.oldest_age_s() == 3


def drained(lanes: Lanes[Key]) -> list[str]:
    return ["/".join(lanes.pop()[0]) for _ in range(len(lanes))]


async def test_a_wait_that_the_api_server_asked_for_is_not_ended_by_news_and_any_other_is() -> None:
    queue, throttled, failed = WorkQueue[Key](), Key("a", "throttled"), Key("a", "failed")
    started = asyncio.get_running_loop().time()
    for key, at_least_s in ((throttled, 0.3), (failed, 0.0)):
        queue.add_after(key, 0.0)
        assert await queue.take() == key
        queue.add(key)
        queue.retry(key, at_least_s)
        queue.done(key)
        queue.add(key)
    assert await queue.take() == failed
    assert await queue.take() == throttled
    assert asyncio.get_running_loop().time() - started >= 0.3
    queue.close()


# New models are in capitals.
TURNS = [
    pytest.param("a/x a/y a/z", "a/x a/y a/z", id="in-order-of-arrival"),
    pytest.param("a/x a/y a/z b/x b/y c/x", "a/x b/x c/x a/y b/y a/z", id="namespaces-by-turns"),
    pytest.param("a/X a/x", "a/x a/X", id="what-was-looked-at-goes-ahead"),
    pytest.param("a/X a/Y a/s a/t a/u a/v a/w", "a/s a/t a/u a/X a/v a/w a/Y", id="every-fourth-is-new"),
    pytest.param("a/X a/Y b/Z", "a/X b/Z a/Y", id="new-ones-take-turns-too"),
    pytest.param("a/X b/x", "b/x a/X", id="another-namespace-does-not-matter"),
]


@pytest.mark.parametrize(("arriving", "taken"), TURNS)
def test_whose_turn_it_is(arriving: str, taken: str) -> None:
    lanes = Lanes[Key]()
    for at, text in enumerate(arriving.split()):
        key = Key(*text.split("/"))
        lanes.put(key, at, is_new=key.name.isupper())
    assert drained(lanes) == taken.split()


KEYS = st.builds(Key, st.sampled_from("abc"), st.sampled_from("stuvwSTUVW"))


@settings(max_examples=300)
@given(st.lists(st.one_of(KEYS, st.none()), max_size=80))
def test_turns_lose_nothing_and_starve_nobody(steps: list[Key | None]) -> None:
    """A key arrives, or (None) one is taken; then all the rest is taken."""
    lanes, waiting, taken = Lanes[Key](), list[Key](), list[Key]()
    new_passed_over, overtaken = 0, dict[tuple[Key, str], int]()

    def take() -> None:
        nonlocal new_passed_over
        key, _ = lanes.pop()
        ahead = [other for other in waiting if other.name.isupper() == key.name.isupper() and other != key]
        same = [other for other in ahead if other.namespace == key.namespace]
        assert all(waiting.index(key) < waiting.index(other) for other in same), "its namespace's first comes first"
        for other in ahead:
            if other not in same and waiting.index(other) < waiting.index(key):
                overtaken[other, key.namespace] = overtaken.get((other, key.namespace), 0) + 1
        waits_new = any(other.name.isupper() for other in waiting)
        new_passed_over = 0 if key.name.isupper() or not waits_new else new_passed_over + 1
        assert new_passed_over < FIRST_LOOK_EVERY
        waiting.remove(key)
        taken.append(key)

    for step in steps:
        if step is not None and step not in lanes:
            lanes.put(step, 0.0, is_new=step.name.isupper())
            waiting.append(step)
        elif step is None and lanes:
            take()
    while lanes:
        take()
    assert (waiting, len(lanes)) == ([], 0)
    assert all(count <= 5 for count in overtaken.values()), "once by each namespace for each key before it of its own"


@settings(max_examples=100)
@given(st.lists(st.tuples(KEYS, st.booleans()), max_size=60), st.integers(1, 4))
def test_no_key_is_lost_or_with_two_workers(steps: list[tuple[Key, bool]], workers: int) -> None:
    asyncio.run(work_off(steps, workers))


async def work_off(steps: list[tuple[Key, bool]], workers: int) -> None:
    """Keys are added, at times while workers hold some; every one is looked at after it was last added."""
    queue, held = WorkQueue[Key](lambda key: key.name.isupper()), list[Key]()
    waiting, again = set[Key](), set[Key]()

    async def take() -> None:
        key = await asyncio.wait_for(queue.take(), 60)
        assert key in waiting
        waiting.remove(key)
        held.append(key)

    def hand_back() -> None:
        key = held.pop(0)
        queue.done(key)
        if key in again:
            again.remove(key)
            waiting.add(key)

    for key, hands_back in steps:
        queue.add(key)
        (again if key in held else waiting).add(key)
        if hands_back and held:
            hand_back()
        if waiting and len(held) < workers:
            await take()
    while waiting or held:
        while waiting:
            await take()
        hand_back()
    assert queue.depth == 0
