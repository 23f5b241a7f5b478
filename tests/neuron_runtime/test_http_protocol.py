"""What a connection does beside carrying requests, over real loopback sockets, and what that relies on in uvicorn."""

import asyncio
import gc
import hashlib
import inspect
import weakref
from collections.abc import Callable

import pytest
import uvicorn
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from neuron_runtime.connections import Phase
from neuron_runtime.http_protocol import PIPELINED, HttpProtocol
from neuron_runtime.routes.exchange import CONNECTION, Receive, Scope, Send
from served_connections import bodies, echo, ok, refusal, serving, statuses


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
