"""What a connection does beside carrying requests, over real loopback sockets, and what that relies on in uvicorn."""

import asyncio
import gc
import socket
import weakref
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import pytest
import uvicorn

from neuron_runtime.connections import ConnectionLimits, Connections
from neuron_runtime.http_protocol import HttpProtocol
from neuron_runtime.http_server import HttpServer
from neuron_runtime.routes.exchange import CONNECTION, Receive, Scope, Send, reply

App = Callable[[Scope, Receive, Send], Awaitable[None]]


LIMITS = ConnectionLimits(open=64, head_seconds=10, body_seconds=20, idle_seconds=75)


@dataclass
class Served:
    """A server in this process. `later` lets its connections be as old as if that time had passed."""

    address: tuple[str, int]
    connections: Connections
    ended: Counter[str]

    def later(self, seconds: float) -> None:
        now = asyncio.get_running_loop().time()
        self.connections.sweep(now)
        self.connections.sweep(now + seconds)

    async def open(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        before = len(self.connections)
        opened = await asyncio.open_connection(*self.address)
        for _ in range(1000):
            if len(self.connections) > before:
                break
            await asyncio.sleep(0)
        return opened

    async def say(self, request: bytes) -> bytes:
        """Everything that is answered to these bytes until the connection ends."""
        reader, writer = await asyncio.open_connection(*self.address)
        writer.write(request)
        answer = await reader.read()
        writer.close()
        return answer


@asynccontextmanager
async def serving(app: App, limits: ConnectionLimits = LIMITS) -> AsyncIterator[Served]:
    ended: Counter[str] = Counter()
    connections = Connections(limits, lambda cause: ended.update([cause]))
    protocol: Any = partial(HttpProtocol, connections)
    config = uvicorn.Config(app, http=protocol, ws="none", lifespan="off", log_config=None)
    config.load()
    server = HttpServer(config, connections)
    server.lifespan = config.lifespan_class(config)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        await server.startup([listener])
        try:
            yield Served(listener.getsockname(), connections, ended)
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
            writer.close()
        assert [connection() for connection in connections] == [None]
    finally:
        gc.enable()
