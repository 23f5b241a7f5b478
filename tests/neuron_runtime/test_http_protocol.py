"""What a connection does beside carrying requests, over real loopback sockets, and what that relies on in uvicorn."""

import asyncio
import gc
import hashlib
import inspect
import itertools
import json
import re
import socket
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from neuron_runtime.connections import LINGER_SECONDS, ConnectionLimits, Connections, Phase
from neuron_runtime.http_protocol import PIPELINED, HttpProtocol
from neuron_runtime.routes.exchange import CONNECTION, Receive, Scope, Send, reply

App = Callable[[Scope, Receive, Send], Awaitable[None]]


async def until(condition: Callable[[], bool]) -> None:
    """Turns of the loop, in which sockets are served, until it is true; the test's timeout ends it."""
    for _ in itertools.takewhile(lambda _: not condition(), itertools.count()):
        await asyncio.sleep(0.001)


LIMITS = ConnectionLimits(open=64, head_seconds=10, body_seconds=20, idle_seconds=75)


@dataclass
class Served:
    """A server in this process. `later` lets its connections be as old as if that time had passed."""

    address: tuple[str, int]
    connections: Connections
    ended: Counter[str]
    writers: list[asyncio.StreamWriter] = field(default_factory=list)

    def later(self, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        self.connections.sweep(now)
        self.connections.sweep(now + seconds)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        before = len(self.connections)
        reader, writer = await asyncio.open_connection(*self.address)
        self.writers.append(writer)
        await until(lambda: len(self.connections) > before)
        return reader, writer

    async def stands(self, phase: Phase) -> None:
        """Until every connection does."""
        await until(lambda: {connection.stand()[0] for connection in self.connections} == {phase})

    async def ends_with(self, cause: str) -> None:
        await until(lambda: self.ended == {cause: 1})

    async def is_empty(self) -> None:
        await until(lambda: len(self.connections) == 0)

    async def say(self, request: bytes) -> bytes:
        """Everything that is answered to these bytes until the connection ends."""
        reader, writer = await asyncio.open_connection(*self.address)
        self.writers.append(writer)
        writer.write(request)
        return await reader.read()


@asynccontextmanager
async def serving(app: App, limits: ConnectionLimits = LIMITS) -> AsyncIterator[Served]:
    ended: Counter[str] = Counter()
    connections = Connections(limits, lambda cause: ended.update([cause]))
    protocol: Any = partial(HttpProtocol, connections)
    config = uvicorn.Config(app, http=protocol, ws="none", lifespan="off", log_config=None)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await server.startup([listener])
        served = Served(listener.getsockname(), connections, ended)
        try:
            yield served
        finally:
            server.servers[0].close()
            for writer in served.writers:
                writer.transport.abort()
            await served.is_empty()


async def ok(scope: Scope, receive: Receive, send: Send) -> None:
    await reply(send, 200, b"ok", [])


class Watching:
    """An application that answers no request and notes which of them lost their client."""

    def __init__(self) -> None:
        self.started = asyncio.Event()
        self.gone: asyncio.Queue[str] = asyncio.Queue()
        self.stays_watched = True

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        while (await receive())["more_body"]:
            pass
        left = asyncio.Event()
        scope[CONNECTION].watch(left.set)
        if not self.stays_watched:
            scope[CONNECTION].unwatch()
            scope[CONNECTION].watch(left.set)
        self.started.set()
        await left.wait()
        self.gone.put_nowait(scope["path"])


@pytest.mark.parametrize(
    "request_bytes",
    [
        pytest.param(b"GET /1 HTTP/1.1\r\n\r\n", id="no body"),
        pytest.param(b"POST /1 HTTP/1.1\r\ncontent-length: 900000\r\n\r\n" + bytes(900_000), id="large body"),
        pytest.param(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\n", id="pipelined"),
    ],
)
async def test_the_request_being_answered_is_told_when_its_client_leaves(request_bytes: bytes) -> None:
    app = Watching()
    async with serving(app) as served:
        _, writer = await served.open()
        writer.write(request_bytes)
        await app.started.wait()
        writer.transport.abort()

        assert await app.gone.get() == "/1"


async def test_watching_a_connection_that_is_lost_tells_at_once() -> None:
    lost = asyncio.Event()

    async def late(scope: Scope, receive: Receive, send: Send) -> None:
        await receive()
        assert (await receive())["type"] == "http.disconnect"
        scope[CONNECTION].watch(lost.set)

    async with serving(late) as served:
        _, writer = await served.open()
        writer.write(b"GET /1 HTTP/1.1\r\n\r\n")
        await writer.drain()
        writer.transport.abort()

        await lost.wait()


async def test_a_closed_connection_is_freed_without_the_garbage_collector() -> None:
    connections: list[weakref.ref[HttpProtocol]] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        connections.append(weakref.ref(scope[CONNECTION]))
        await ok(scope, receive, send)

    gc.disable()
    try:
        async with serving(note) as served:
            reader, writer = await served.open()
            writer.write(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
            await reader.read()
        assert [connection() for connection in connections] == [None]
    finally:
        gc.enable()


async def echo(scope: Scope, receive: Receive, send: Send) -> None:
    body, more = b"", True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body, more = body + message["body"], message["more_body"]
    await reply(send, 200, scope["path"].encode() + b" " + body, [])


def bodies(answer: bytes) -> list[bytes]:
    """Of all replies in what a connection said."""
    found = []
    while answer:
        head, _, answer = answer.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head)[1])  # type: ignore[index]
        found.append(answer[:length])
        answer = answer[length:]
    return found


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", answer)]


def refusal(answer: bytes) -> tuple[int, str]:
    """Status and message of the last reply, which must be JSON and end the connection."""
    head = answer[answer.rindex(b"HTTP/1.1") :]
    assert b"content-type: application/json" in head
    assert b"connection: close" in head
    return statuses(head)[0], json.loads(bodies(head)[0])["error"]


@pytest.mark.parametrize(
    ("request_bytes", "status", "cause"),
    [
        pytest.param(b"\x16\x03\x01 TLS", 400, "invalid", id="no HTTP"),
        pytest.param(b"GET /\xff HTTP/1.1\r\n\r\n", 400, "invalid", id="no ASCII"),
        pytest.param(b"CONNECT a:1 HTTP/1.1\r\n\r\n", 400, "invalid", id="no path"),
        pytest.param(
            b"POST / HTTP/1.1\r\ncontent-length: 4\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
            400,
            "invalid",
            id="both framings",
        ),
        pytest.param(
            b"POST / HTTP/1.1\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\n", 400, "invalid", id="two lengths"
        ),
        pytest.param(b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 129 + b"\r\n", 431, "head-too-large", id="fields"),
        pytest.param(b"GET / HTTP/1.1\r\na: " + b"b" * 33_000 + b"\r\n\r\n", 431, "head-too-large", id="long head"),
        pytest.param(b"GET /" + b"a" * 33_000 + b" HTTP/1.1\r\n\r\n", 431, "head-too-large", id="long path"),
        pytest.param(b"GET / HTTP/1.1\r\na: " + b"b" * 33_000, 431, "head-too-large", id="endless head"),
        pytest.param(b"\r\n" * 20_000, 431, "head-too-large", id="endless nothing"),
    ],
)
async def test_what_is_no_request_is_refused_in_json(request_bytes: bytes, status: int, cause: str) -> None:
    async with serving(ok) as served:
        assert refusal(await served.say(request_bytes))[0] == status
        assert served.ended == {cause: 1}


async def test_a_refusal_waits_for_the_answers_before_it() -> None:
    async with serving(echo) as served:
        answer = await served.say(b"GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nnonsense\r\n\r\n")

        assert (statuses(answer), bodies(answer)[:2]) == ([200, 200, 400], [b"/1 ", b"/2 "])


@pytest.mark.parametrize("before", [b"", b"GET /1 HTTP/1.1\r\n\r\n"], ids=["first", "pipelined"])
async def test_a_body_with_broken_framing_is_answered_once(before: bytes) -> None:
    async with serving(echo) as served:
        answer = await served.say(before + b"POST /2 HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\nnonsense")

        assert statuses(answer) == ([200] if before else []) + [400]


async def test_a_body_that_breaks_after_its_request_was_answered_ends_the_connection_without_a_word() -> None:
    async with serving(ok) as served:
        reader, writer = await served.open()
        writer.write(b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n")
        assert (await reader.readuntil(b"ok")).startswith(b"HTTP/1.1 200")
        writer.write(b"nonsense\r\n")

        assert await reader.read() == b""


async def test_trailers_are_no_headers_and_no_memory() -> None:
    seen: list[list[tuple[bytes, bytes]]] = []

    async def note(scope: Scope, receive: Receive, send: Send) -> None:
        await echo(scope, receive, send)
        seen.append(scope["headers"])

    begin = b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"
    async with serving(note) as served:
        assert statuses(await served.say(begin + b"host: evil\r\n\r\nGET / HTTP/1.0\r\n\r\n")) == [200, 200]
        assert seen[0] == [(b"transfer-encoding", b"chunked")]

        _, writer = await served.open()
        writer.write(begin)
        for _ in range(20):
            writer.write(b"a: " + b"b" * 10_000)
            await writer.drain()
        await served.ends_with("head-too-large")


async def test_pipelined_requests_are_answered_in_order() -> None:
    async def slow_first(scope: Scope, receive: Receive, send: Send) -> None:
        for _ in range(20 if scope["path"] == "/0" else 0):
            await asyncio.sleep(0)
        await echo(scope, receive, send)

    requests = [b"POST /%d HTTP/1.1\r\ncontent-length: 1\r\n\r\n%d" % (n, n % 10) for n in range(100)]
    async with serving(slow_first) as served:
        answer = await served.say(b"".join(requests) + b"GET /end HTTP/1.0\r\n\r\n")

        assert bodies(answer) == [b"/%d %d" % (n, n % 10) for n in range(100)] + [b"/end "]


async def test_no_more_than_so_many_pipelined_requests_wait() -> None:
    async with serving(echo) as served:
        answer = await served.say(b"GET / HTTP/1.1\r\n\r\n" * 2000)

        assert statuses(answer) == [200] * (PIPELINED + 1) + [429]


async def test_an_offered_upgrade_is_not_taken_up() -> None:
    offer = b"POST /%d HTTP/1.1\r\nconnection: upgrade\r\nupgrade: h2c\r\ncontent-length: 1\r\n\r\nx"
    async with serving(echo) as served:
        answer = await served.say(offer % 1 + offer % 2 + b"GET /3 HTTP/1.0\r\n\r\n")
        assert bodies(answer) == [b"/1 x", b"/2 x", b"/3 "]

        reader, writer = await served.open()
        writer.write(offer[:-1] % 4)
        await served.stands(Phase.BUSY)
        writer.write(b"x")
        assert bodies(await reader.readuntil(b"/4 x")) == [b"/4 x"]


@pytest.mark.parametrize(
    "begun", [b"G", b"GET / HTTP/1.1\r\na: b\r\n", b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n"]
)
async def test_a_slow_head_is_refused(begun: bytes) -> None:
    async with serving(ok) as served:
        reader, writer = await served.open()
        writer.write(begun)
        await served.stands(Phase.HEAD)
        served.later(9)
        await served.stands(Phase.HEAD)
        served.later(10)

        assert refusal(await reader.read()) == (408, "the request's head did not arrive within 10 seconds")
        assert served.ended == {"head-timeout": 1}


@pytest.mark.parametrize("first", [b"", b"GET / HTTP/1.1\r\n\r\n"], ids=["silent", "kept alive"])
async def test_an_idle_connection_is_closed_without_a_word(first: bytes) -> None:
    async with serving(ok) as served:
        reader, writer = await served.open()
        writer.write(first)
        if first:
            await reader.readuntil(b"ok")
        served.later(74)
        assert len(served.connections) == 1
        served.later(75)

        assert await reader.read() == b""


async def test_a_refused_body_that_does_not_end_is_no_longer_taken() -> None:
    async with serving(ok) as served:
        reader, writer = await served.open()
        writer.write(b"POST / HTTP/1.1\r\ncontent-length: 9\r\n\r\n")
        await reader.readuntil(b"ok")
        served.later(20)

        await served.ends_with("body-timeout")


async def test_a_client_that_does_not_read_its_reply_is_dropped() -> None:
    async def much(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, 200, bytes(50_000_000), [])

    async with serving(much) as served:
        _, writer = await served.open()
        transport: Any = writer.transport
        transport.pause_reading()
        writer.write(b"GET / HTTP/1.1\r\n\r\n")
        await served.stands(Phase.REPLY)
        served.later(20)

        await served.ends_with("reply-timeout")


async def test_a_refusal_arrives_although_the_body_was_not_read() -> None:
    async def refuse(scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, 413, b"", [(b"connection", b"close")])

    async with serving(refuse) as served:
        answer = await served.say(b"POST / HTTP/1.1\r\ncontent-length: 30000000\r\n\r\n" + bytes(30_000_000))

        assert statuses(answer) == [413]


async def test_an_ended_connection_waits_for_the_client_but_not_for_ever() -> None:
    async with serving(ok) as served:
        reader, writer = await served.open()
        writer.write(b"nonsense\r\n\r\n")
        assert statuses(await reader.read()) == [400]
        await served.stands(Phase.ENDED)
        served.later(LINGER_SECONDS)

        await served.is_empty()


EXPECT = b"POST / HTTP/1.1\r\nexpect: 100-continue\r\ncontent-length: 1\r\n\r\n"


async def test_100_continue_comes_when_the_body_is_wanted() -> None:
    async with serving(echo) as served:
        reader, writer = await served.open()
        for _ in range(2):
            writer.write(EXPECT)
            assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
            writer.write(b"x")
            answer = await reader.readuntil(b"/ x")
            assert (statuses(answer), b"connection: close" in answer) == ([200], False)


async def test_a_refusal_comes_instead_of_100_continue_and_ends_the_connection() -> None:
    async with serving(ok) as served:
        answer = await served.say(EXPECT)

        assert (statuses(answer), b"connection: close" in answer) == ([200], True)


async def test_a_new_connection_takes_the_place_of_the_one_idle_for_longest() -> None:
    async with serving(ok, replace(LIMITS, open=2)) as served:
        (oldest, _), _ = await served.open(), await served.open()

        assert statuses(await served.say(b"POST / HTTP/1.0\r\n\r\n")) == [200]
        assert await oldest.read() == b""
        assert served.ended == {"evicted": 1}


async def test_with_every_connection_busy_probes_are_answered_and_the_rest_is_refused() -> None:
    release = asyncio.Event()

    async def wait(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/work":
            await release.wait()
        await ok(scope, receive, send)

    async with serving(wait, replace(LIMITS, open=2)) as served:
        busy = [await served.open() for _ in range(2)]
        for _, writer in busy:
            writer.write(b"POST /work HTTP/1.1\r\nconnection: close\r\n\r\n")
        await served.stands(Phase.BUSY)

        assert refusal(await served.say(b"POST /work HTTP/1.1\r\n\r\n"))[0] == 503
        assert statuses(await served.say(b"GET /health HTTP/1.1\r\n\r\n")) == [200]
        release.set()
        assert [statuses(await reader.read()) for reader, _ in busy] == [[200]] * 2


def source_hash(method: Callable[..., object]) -> str:
    return hashlib.sha256(inspect.getsource(method).encode()).hexdigest()[:8]


REPLACED = {
    "data_received": "010a7ae5",
    "on_body": "dba9c32a",
    "on_message_complete": "1fbad42d",
    "on_response_complete": "64e254f2",
    "shutdown": "d7351fa3",
    "on_headers_complete": "1ea8589a",
    "on_message_begin": "96d377fd",
    "connection_lost": "c91a4c9b",
    "connection_made": "6efb565f",
    "_start_asgi_task": "9c08c257",
}


def test_uvicorn_is_the_version_whose_methods_are_replaced() -> None:
    """HttpProtocol repeats what these do, less a timer or a warning. If one has changed, compare, then say so here."""
    found = {name: source_hash(getattr(HttpToolsProtocol, name)) for name in REPLACED}

    assert (found, uvicorn.__version__) == (REPLACED, "0.54.0")
