"""Who can take a batch, through everything that happens to workers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_runtime.rooms import Rooms, batches_per_worker


def rooms_of(*names: str, calls: int = 2) -> Rooms[str]:
    rooms: Rooms[str] = Rooms(calls)
    for name in names:
        rooms.add(name)
    return rooms


def test_idle_workers_come_before_busy_ones_and_take_turns() -> None:
    rooms = rooms_of("a", "b")
    order = []
    for _ in range(4):
        room = rooms.least_busy()
        assert room is not None
        rooms.started(room)
        order.append(room)

    assert order == ["a", "b", "a", "b"]
    assert rooms.least_busy() is None
    assert (rooms.idle, rooms.prefetching) == (0, 0)


@pytest.mark.parametrize(("in_flight", "batches"), [(1, 2), (2, 2), (3, 3)])
def test_a_worker_always_has_the_next_batch(in_flight: int, batches: int) -> None:
    rooms = rooms_of("a", calls=batches_per_worker(in_flight))
    taken = 0
    while rooms.least_busy():
        rooms.started("a")
        taken += 1
    assert taken == batches


def test_a_finished_batch_makes_room() -> None:
    rooms = rooms_of("a")
    rooms.started("a")
    rooms.started("a")
    rooms.finished("a")

    assert (rooms.idle, rooms.prefetching, rooms.least_busy()) == (0, 1, "a")


def test_a_held_worker_ends_what_it_has_and_takes_nothing_new() -> None:
    rooms = rooms_of("a", "b")
    rooms.started("a")
    rooms.hold("a")
    assert [rooms.least_busy(), rooms.idle, rooms.prefetching] == ["b", 1, 0]

    rooms.finished("a")
    assert (rooms.calls_of("a"), rooms.idle) == (0, 1)
    rooms.release("a")
    assert rooms.idle == 2


def test_a_lost_worker_is_forgotten_whatever_it_had() -> None:
    rooms = rooms_of("a", "b")
    rooms.started("a")
    rooms.hold("b")
    for name in ("a", "b", "never-seen"):
        rooms.remove(name)
    rooms.finished("a")
    rooms.release("b")

    assert (len(rooms), rooms.idle, rooms.calls_of("a"), rooms.least_busy()) == (0, 0, None, None)


def test_a_busy_fleet_still_has_a_least_busy_worker() -> None:
    rooms = rooms_of("a", "b")
    for name in ("a", "a", "b", "b"):
        rooms.started(name)
    rooms.finished("b")

    assert rooms.least_busy_of_all() == "b"
    assert rooms_of().least_busy_of_all() is None


events = st.lists(st.tuples(st.sampled_from(["started", "finished", "hold", "release"]), st.sampled_from("abc")))


@given(events)
def test_the_counts_agree_with_the_calls(happened: list[tuple[str, str]]) -> None:
    rooms = rooms_of(*"abc")
    calls = dict.fromkeys("abc", 0)
    held: set[str] = set()
    for event, name in happened:
        if (event == "started" and calls[name] == 2) or (event == "finished" and not calls[name]):
            continue
        getattr(rooms, event)(name)
        calls[name] += {"started": 1, "finished": -1}.get(event, 0)
        held = held | {name} if event == "hold" else held - {name} if event == "release" else held

    free = [calls[name] for name in "abc" if name not in held]
    assert (rooms.idle, rooms.prefetching) == (free.count(0), free.count(1))
