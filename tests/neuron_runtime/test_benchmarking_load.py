"""Closed and open loops against small servers on loopback that answer well, badly, late or not at all."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from neuron_runtime.benchmarking.arrivals import poisson_arrivals
from neuron_runtime.benchmarking.load import MOST_CLIENTS, MOST_SECONDS, closed_loop, open_loop
from neuron_runtime.benchmarking.load_run import Options
from neuron_runtime.benchmarking.measurement import Measurement
from neuron_runtime.benchmarking.targets import Target, TargetError, raw_target

OK = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok"
BUSY = b"HTTP/1.1 429 Too Many Requests\r\ncontent-length: 0\r\nretry-after: 1\r\n\r\n"


class Server(asyncio.Protocol):
    """One connection. `reply` is called for each complete request, with the connection."""

    def __init__(self, world: "World") -> None:
        self.world = world
        self._unread = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport
        self.world.connections += 1
        self.world.open.add(self)
        self.world.most_open = max(self.world.most_open, len(self.world.open))

    def connection_lost(self, error: Exception | None) -> None:
        self.world.open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._unread += data
        if len(self._unread) >= len(self.world.target.request):
            assert self._unread == self.world.target.request, "one request at a time, whole and unchanged"
            self._unread = b""
            self.world.requests += 1
            self.world.reply(self)


class World:
    """A server and what it saw."""

    target: Target

    def __init__(self, reply: Callable[[Server], None], body: bytes) -> None:
        self.reply = reply
        self.body = body
        self.connections = self.requests = self.most_open = 0
        self.open: set[Server] = set()


@asynccontextmanager
async def serving(reply: Callable[[Server], None], body: bytes = b"{}") -> AsyncIterator[World]:
    world = World(reply, body)
    server = await asyncio.get_running_loop().create_server(lambda: Server(world), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    world.target = raw_target(f"http://127.0.0.1:{port}", "POST", "/predict", {}, body)
    try:
        yield world
    finally:
        server.close()
        for each in list(world.open):
            each.transport.abort()
        await server.wait_closed()


def answer(*pieces: bytes, after: float = 0.002) -> Callable[[Server], None]:
    """Each piece in a segment of its own, so much later than the one before."""

    def reply(server: Server) -> None:
        for index, piece in enumerate(pieces):
            asyncio.get_running_loop().call_later(index * after, server.transport.write, piece)

    return reply


async def closed(world: World, clients: int = 2, seconds: float = 0.2, **options: Any) -> Measurement:
    # Without warm-up the first requests count, however long this machine pauses after them.
    return await closed_loop(
        world.target, clients=clients, seconds=seconds, warmup_seconds=0, options=Options(**options)
    )


async def opened(world: World, rate: float, seconds: float, most_connections: int = 32, **options: Any) -> Measurement:
    return await open_loop(
        world.target,
        rate_per_second=rate,
        seconds=seconds,
        warmup_seconds=0,
        seed=1,
        most_connections=most_connections,
        options=Options(**options),
    )


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((OK,), id="whole"),
        pytest.param((OK[:9], OK[9:30], OK[30:]), id="torn"),
        pytest.param((b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\no", b"k\r\n0\r\n\r\n"), id="chunked"),
        pytest.param((b"HTTP/1.1 100 Continue\r\n\r\n", OK), id="after an interim answer"),
        pytest.param((b"HTTP/1.1 204 No Content\r\n\r\n",), id="without a body"),
    ],
)
async def test_an_answer_counts_once_it_is_complete(pieces: tuple[bytes, ...]) -> None:
    async with serving(answer(*pieces)) as world:
        found = await closed(world)

    assert len(found.latencies_seconds) > 0
    assert found.failures == {}
    assert set(found.codes) <= {200, 204}
    # Nothing of an answer is taken for another: the connections were never given up.
    assert world.connections == 2
    assert world.requests == len(found.latencies_seconds)


async def test_every_client_keeps_one_request_in_flight() -> None:
    waiting: list[Server] = []

    def answer_all() -> None:
        for each in waiting:
            each.transport.write(OK)
        waiting.clear()

    def answer_eight_at_once(server: Server) -> None:
        waiting.append(server)
        if len(waiting) == 8:
            answer_all()
        # At the end of the run there may be no eighth.
        asyncio.get_running_loop().call_later(2, answer_all)

    async with serving(answer_eight_at_once) as world:
        found = await closed(world, clients=8, timeout_seconds=30.0)

    assert len(found.latencies_seconds) >= 8
    assert world.most_open == 8


async def test_a_large_request_arrives_whole() -> None:
    async with serving(answer(OK), body=bytes(4 * 2**20)) as world:
        found = await closed(world, clients=1)

    assert found.failures == {}
    assert world.requests > 0


async def test_a_server_that_closes_after_each_answer_gets_new_connections() -> None:
    closing = b"HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 2\r\n\r\nok"
    async with serving(answer(closing)) as world:
        found = await closed(world)

    assert found.failures == {}
    assert world.requests == len(found.latencies_seconds) > 0
    assert world.connections >= world.requests


@pytest.mark.parametrize(
    ("reply", "failure"),
    [
        pytest.param(lambda server: server.transport.close(), "connection closed", id="closed instead of an answer"),
        pytest.param(lambda server: server.transport.abort(), "connection closed", id="reset instead of an answer"),
        pytest.param(answer(b"SSH-2.0-OpenSSH_9.2\r\n"), "malformed answer", id="another protocol"),
        pytest.param(lambda server: None, "timeout", id="no answer"),
    ],
)
async def test_what_is_no_answer_counts_as_failed(reply: Callable[[Server], None], failure: str) -> None:
    async with serving(reply) as world:
        found = await closed(world, timeout_seconds=0.1 if failure == "timeout" else 30.0)

    assert set(found.failures) == {failure}
    assert (found.answered, found.error_ratio) == (0, 1.0)


async def test_refusals_are_measured_apart() -> None:
    turn = iter(range(10**9))
    async with serving(lambda server: server.transport.write(BUSY if next(turn) % 2 == 0 else OK)) as world:
        found = await closed(world)

    assert 429 in found.codes
    assert found.codes[429] == found.refused == len(found.refusal_latencies_seconds)


async def test_a_server_that_is_not_there_is_named() -> None:
    async with serving(answer(OK)) as world:
        pass

    with pytest.raises(TargetError, match=rf"127\.0\.0\.1:{world.target.port}/predict: the server takes no connection"):
        await closed(world)


async def test_an_open_loop_sends_every_arrival_once() -> None:
    async with serving(answer(OK)) as world:
        found = await opened(world, rate=400, seconds=0.5)

    expected = len(poisson_arrivals(400, 0.5, seed=1))
    assert world.requests == expected
    assert len(found.latencies_seconds) == expected


async def test_an_open_loop_does_not_wait_for_answers() -> None:
    asked: list[Server] = []
    async with serving(asked.append) as world:
        found = await opened(world, rate=100, seconds=0.3, most_connections=64, timeout_seconds=0.5)

    assert world.requests == len(poisson_arrivals(100, 0.3, seed=1))
    assert found.failures == {"timeout": world.requests}


async def test_an_open_loop_keeps_to_its_connections_and_counts_the_wait() -> None:
    async with serving(answer(b"", OK, after=0.02)) as world:
        found = await opened(world, rate=400, seconds=0.3, most_connections=2)

    assert world.most_open == 2
    assert found.connection_waits > 0
    # 120 requests, 2 every 20 ms: the last waited for most of a second, which is not the generator's fault.
    assert found.percentile(100) > 0.5
    assert len(found.latencies_seconds) == len(poisson_arrivals(400, 0.3, seed=1))


async def test_a_stall_is_felt_by_every_request_that_was_due_meanwhile() -> None:
    """Coordinated omission: a closed loop asks once during the stall and so hardly notices it."""

    def stalling() -> Callable[[Server], None]:
        """Answers at once, but for half a second from a quarter of a second after the first request on."""
        stall: list[float] = []

        def reply(server: Server) -> None:
            loop = asyncio.get_running_loop()
            now = loop.time()
            stall.append(now + 0.25)
            is_stalled = stall[0] <= now < stall[0] + 0.5
            loop.call_at(stall[0] + 0.5 if is_stalled else now, server.transport.write, OK)

        return reply

    async with serving(stalling()) as world:
        open_found = await opened(world, rate=200, seconds=1.0, most_connections=16)
    async with serving(stalling()) as world:
        closed_found = await closed_loop(world.target, clients=1, seconds=1.0, warmup_seconds=0)

    assert open_found.percentile(90) > 0.3
    assert (open_found.latencies_seconds > 0.1).mean() > 0.3
    assert closed_found.percentile(90) < open_found.percentile(90)
    assert closed_found.percentile(100) > 0.4


async def test_a_generator_that_cannot_keep_up_says_so() -> None:
    async with serving(answer(OK)) as world:
        found = await opened(world, rate=2_000_000, seconds=0.2, timeout_seconds=0.5)

    assert found.verdict.generator_was_the_limit
    assert found.lag_p99_seconds > 0.01
    assert len(found.latencies_seconds) + found.failed == len(poisson_arrivals(2_000_000, 0.2, seed=1))


async def test_progress_is_told_and_nothing_stays_open() -> None:
    told: list[tuple[float, int]] = []
    async with serving(answer(OK)) as world:
        await closed(world, progress=lambda seconds, answers: told.append((seconds, answers)))
        await asyncio.sleep(0)

        assert told == sorted(told)
        assert told[-1][1] > 0
    assert asyncio.all_tasks() == {asyncio.current_task()}


@pytest.mark.parametrize(
    ("over", "name"),
    [
        ({"rate_per_second": 0.0}, "rate_per_second"),
        ({"rate_per_second": 1e9}, "rate_per_second"),
        ({"seconds": MOST_SECONDS}, "seconds"),
        ({"most_connections": MOST_CLIENTS + 1}, "most_connections"),
    ],
)
async def test_loads_have_limits(over: dict[str, Any], name: str) -> None:
    load = {"rate_per_second": 10.0, "seconds": 1.0, "warmup_seconds": 1.0, "seed": 1, "most_connections": 1} | over

    with pytest.raises(ValueError, match=name):
        await open_loop(Target("127.0.0.1", 9, b""), **load)
