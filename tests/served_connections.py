"""The runtime's HTTP protocol served in this process over real loopback sockets, and what a client reads of it."""

import asyncio
import itertools
import json
import re
import socket
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import uvicorn

from neuron_runtime.connections import ConnectionLimits, Connections, Phase
from neuron_runtime.http_protocol import HttpProtocol
from neuron_runtime.routes.exchange import Receive, Scope, Send, reply

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
