"""Whose time is over and who makes room, decided from where connections stand. No sockets, no clock."""

from collections import Counter

import pytest

from neuron_runtime.connections import (
    LAST_REQUEST_SECONDS,
    LINGER_SECONDS,
    SEARCH_SECONDS,
    ConnectionLimits,
    Connections,
    Phase,
)

LIMITS = ConnectionLimits(open=3, head_seconds=10, body_seconds=20, idle_seconds=75)


class Client:
    """A connection that stands where the test puts it."""

    def __init__(self, phase: Phase = Phase.IDLE) -> None:
        self.at = (phase, 0)
        self.expired: list[Phase] = []
        self.is_evicted = False

    def stand(self) -> tuple[Phase, int]:
        return self.at

    def expire(self, phase: Phase) -> None:
        self.expired.append(phase)

    def evict(self) -> None:
        self.is_evicted = True


@pytest.fixture
def ended() -> Counter[str]:
    return Counter()


@pytest.fixture
def connections(ended: Counter[str]) -> Connections:
    return Connections(LIMITS, lambda cause: ended.update([cause]))


@pytest.mark.parametrize(
    ("phase", "seconds"),
    [
        (Phase.IDLE, 75.0),
        (Phase.HEAD, 10.0),
        (Phase.REST, 20.0),
        (Phase.REPLY, 20.0),
        (Phase.ENDED, LINGER_SECONDS),
        (Phase.BUSY, None),
    ],
)
def test_each_phase_has_its_time(connections: Connections, phase: Phase, seconds: float | None) -> None:
    client = Client(phase)
    connections.opened(client, now=100)
    connections.sweep(100 + (seconds or 10_000) - 0.001)
    assert client.expired == []

    connections.sweep(100 + (seconds or 10_000))
    assert client.expired == ([phase] if seconds else [])


def test_a_connection_that_moves_is_not_old(connections: Connections) -> None:
    client = Client(Phase.HEAD)
    connections.opened(client, now=0)
    for now in range(1, 100):
        client.at = (Phase.HEAD, now)
        connections.sweep(now)

    assert client.expired == []


def test_a_drain_leaves_idle_connections_only_a_moment(connections: Connections) -> None:
    old, recent = Client(), Client()
    connections.opened(old, now=0)
    connections.opened(recent, now=50)
    connections.drain()
    connections.sweep(50.1)
    assert (old.expired, recent.expired) == ([Phase.IDLE], [])

    connections.sweep(50 + LAST_REQUEST_SECONDS)
    assert recent.expired == [Phase.IDLE]


def test_room_is_made_by_the_one_silent_for_longest_and_ended_ones_go_first(
    connections: Connections, ended: Counter[str]
) -> None:
    clients = [Client(Phase.IDLE), Client(Phase.HEAD), Client(Phase.ENDED), *[Client(Phase.BUSY) for _ in range(4)]]
    has_place = [connections.opened(client, now=number) for number, client in enumerate(clients)]

    assert has_place == [True] * 6 + [False]
    assert [client.is_evicted for client in clients] == [True] * 3 + [False] * 4
    assert ended == {"evicted": 3}


def test_the_order_in_which_room_is_made(connections: Connections) -> None:
    idle, head, gone = Client(Phase.IDLE), Client(Phase.HEAD), Client(Phase.ENDED)
    for number, client in enumerate((idle, head, gone)):
        connections.opened(client, now=number)

    for number, expected in enumerate((gone, idle, head), start=10):
        connections.opened(Client(Phase.BUSY), now=number)
        assert expected.is_evicted


def test_one_that_has_become_busy_since_the_search_is_spared(connections: Connections) -> None:
    clients = [Client(), Client(), Client()]
    for client in clients:
        connections.opened(client, now=0)
    connections.opened(Client(Phase.BUSY), now=1)
    clients[1].at = (Phase.BUSY, 1)
    connections.opened(Client(Phase.BUSY), now=1)

    assert [client.is_evicted for client in clients] == [True, False, True]


def test_a_flood_beyond_the_most_searches_only_now_and_then(connections: Connections) -> None:
    for _ in range(3):
        connections.opened(Client(Phase.BUSY), now=0)
    assert not connections.opened(late := Client(Phase.IDLE), now=1)
    assert not connections.opened(Client(Phase.BUSY), now=1 + SEARCH_SECONDS / 2)
    connections.opened(Client(Phase.BUSY), now=1 + SEARCH_SECONDS)

    assert late.is_evicted


def test_a_closed_connection_frees_its_place(connections: Connections) -> None:
    clients = [Client(Phase.BUSY) for _ in range(4)]
    assert [connections.opened(client, now=0) for client in clients] == [True, True, True, False]
    connections.closed(clients[0])
    connections.closed(clients[3])

    assert connections.opened(Client(Phase.BUSY), now=0)
    assert len(connections) == 3
