"""How long a connection may take for what, and how many there may be, over real loopback sockets."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from neuron_runtime.connections import LINGER_SECONDS, Phase
from neuron_runtime.routes.exchange import Receive, Scope, Send, reply
from served_connections import LIMITS, ok, refusal, serving, statuses


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
