"""What a connection does beside carrying requests, over real loopback sockets, and what that relies on in uvicorn."""

import asyncio
import gc
import socket
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvicorn

from neuron_runtime.http_protocol import HttpProtocol
from neuron_runtime.routes.exchange import CONNECTION, Receive, Scope, Send, reply

App = Callable[[Scope, Receive, Send], Awaitable[None]]


@asynccontextmanager
async def serving(app: App) -> AsyncIterator[tuple[str, int]]:
    """The address of a server whose connections are HttpProtocols."""
    config = uvicorn.Config(app, http=HttpProtocol, ws="none", lifespan="off", log_config=None)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await server.startup([listener])
        try:
            yield listener.getsockname()
        finally:
            await server.shutdown([listener])


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
    async with serving(app) as address:
        _, writer = await asyncio.open_connection(*address)
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

    async with serving(late) as address:
        _, writer = await asyncio.open_connection(*address)
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
        async with serving(note) as address:
            reader, writer = await asyncio.open_connection(*address)
            writer.write(b"GET / HTTP/1.1\r\nconnection: close\r\n\r\n")
            await reader.read()
            writer.close()
        assert [connection() for connection in connections] == [None]
    finally:
        gc.enable()
