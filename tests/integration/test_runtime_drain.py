"""What a drain promises to clients that do not know of it yet, from the listener alone up to the whole process."""

import asyncio
import itertools
import random
import re
import signal
import socket
import threading
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

import httpx
import pytest
import uvloop
from prometheus_client import CollectorRegistry

from neuron_runtime.http_server import bind, keep_out_newcomers, make_server
from neuron_runtime.metrics import Metrics
from neuron_runtime.routes.exchange import Receive, Scope, Send, reply
from neuron_runtime.settings import ServeSettings
from runtime_server import RunningServer, ready

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

Address: TypeAlias = tuple[str, int]


@dataclass(frozen=True)
class Ask:
    """A request, and what its right answer has in it; %d is its number."""

    request: bytes
    answer: bytes


ECHO = Ask(b"POST /%d HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n\r\nx", b"/%d")


class Clients:
    """Clients that ask until they find the port closed, and what became of their requests."""

    def __init__(self, address: Address, seed: int, ask: Ask = ECHO) -> None:
        self.address = address
        self.outcomes: Counter[str] = Counter()
        self.connected = 0
        self.kept_open = 0
        self._ask = ask
        self._random = random.Random(seed)
        self._numbers = itertools.count()

    async def ask_once(self) -> None:
        number = next(self._numbers)
        opened = await self._connect()
        assert opened is not None, "the port is open"
        await self._answer(number, *opened)
        opened[1].close()

    async def ask_on_new_connections(self) -> None:
        """Each request on a connection of its own, and some of them well after they have connected."""
        while (opened := await self._connect()) is not None:
            await self._pause()
            await self._answer(next(self._numbers), *opened)
            opened[1].close()

    async def ask_on_one_connection(self) -> None:
        """Request after request on a connection, with pauses, and on a new one when told that it ends."""
        opened = await self._connect()
        while opened is not None:
            if not await self._answer(next(self._numbers), *opened):
                opened[1].close()
                opened = await self._connect()
            await self._pause()

    async def have(self, answers: int) -> None:
        await until(lambda: self.outcomes["answered"] >= answers)

    async def find_the_port_closed(self) -> None:
        while (opened := await self._connect()) is not None:
            opened[1].close()

    async def _pause(self) -> None:
        await asyncio.sleep(self._random.choice([0, 0, 0.001, 0.05, 0.3]))

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter] | None:
        try:
            opened = await asyncio.open_connection(*self.address)
        except ConnectionRefusedError:
            return None
        self.connected += 1
        return opened

    async def _answer(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Whether the connection may be used again."""
        try:
            writer.write(self._ask.request % number)
            head = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"content-length: (\d+)", head)
            assert length is not None, head
            body = await reader.readexactly(int(length[1]))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            self.outcomes[f"lost: {type(error).__name__}"] += 1
            return False
        is_right = b" 200 " in head and self._ask.answer % number in body
        self.outcomes["answered" if is_right else f"wrong: {head + body!r}"] += 1
        keeps_open = b"connection: close" not in head
        self.kept_open += keeps_open
        return keeps_open


async def slow_echo(scope: Scope, receive: Receive, send: Send) -> None:
    while (await receive()).get("more_body"):
        pass
    await asyncio.sleep(0.01)
    await reply(send, 200, scope["path"].encode(), [])


SETTINGS = ServeSettings.load(["--host", "127.0.0.1", "--port", "0"])


class Serving:
    """The listener and its connections as they ship, with another application, on an event loop of their own."""

    def __init__(self, app: Callable[[Scope, Receive, Send], Awaitable[None]]) -> None:
        listener = bind(SETTINGS)
        self.address: Address = listener.getsockname()
        self.server = make_server(cast(Any, app), SETTINGS, Metrics(CollectorRegistry()))
        self.thread = threading.Thread(target=lambda: uvloop.run(self.server.serve([listener])))
        self.thread.start()


async def test_twenty_drains_lose_no_request() -> None:
    outcomes: Counter[str] = Counter()
    for seed in range(20):
        serving = Serving(slow_echo)
        clients = Clients(serving.address, seed)
        asking = [asyncio.create_task(clients.ask_on_new_connections()) for _ in range(8)]
        asking += [asyncio.create_task(clients.ask_on_one_connection()) for _ in range(8)]
        await clients.have(100)
        serving.server.should_exit = True
        await asyncio.gather(*asking)
        await asyncio.to_thread(serving.thread.join)
        outcomes += clients.outcomes

    assert set(outcomes) == {"answered"}


async def test_connections_that_only_the_kernel_has_accepted_are_answered() -> None:
    is_stuck, go_on = threading.Event(), threading.Event()

    async def get_stuck(scope: Scope, receive: Receive, send: Send) -> None:
        if scope["path"] == "/0":
            is_stuck.set()
            go_on.wait()  # and nothing is accepted meanwhile
        await slow_echo(scope, receive, send)

    serving = Serving(get_stuck)
    clients = Clients(serving.address, seed=0)
    first = asyncio.create_task(clients.ask_once())
    await asyncio.to_thread(is_stuck.wait)
    later = [asyncio.create_task(clients.ask_once()) for _ in range(200)]
    await until(lambda: clients.connected == 201)
    serving.server.should_exit = True
    go_on.set()
    await asyncio.gather(first, *later)
    await asyncio.to_thread(serving.thread.join)

    assert clients.outcomes == {"answered": 201}


def test_a_listener_about_to_close_lets_nobody_connect_who_would_be_reset() -> None:
    listener = bind(SETTINGS)
    with listener, socket.create_connection(listener.getsockname()) as early:
        keep_out_newcomers(listener)
        with pytest.raises(TimeoutError):
            socket.create_connection(listener.getsockname(), timeout=0.3)
        accepted, _ = listener.accept()
        with accepted:
            early.sendall(b"heard")
            assert accepted.recv(5, socket.MSG_WAITALL) == b"heard"


def simulated(*flags: str, service_ms: float = 5) -> tuple[str, ...]:
    return ("--engine", "simulated", "--simulated-service-ms", str(service_ms), *flags)


ROW = b'{"id":"%06d","inputs":[{"name":"input","shape":[1,16],"datatype":"FP32","data":[' + b"1," * 15 + b"1]}]}"
INFER = Ask(
    b"POST /v2/models/simulated/infer HTTP/1.1\r\nhost: x\r\ncontent-length: %d\r\n\r\n" % len(ROW % 0) + ROW,
    b'"id":"%06d"',
)


async def until(condition: Callable[[], bool]) -> None:
    """Returns when it is true; the test's timeout ends it."""
    for _ in itertools.takewhile(lambda _: not condition(), itertools.count()):
        await asyncio.sleep(0.001)


def address_of(server: RunningServer) -> Address:
    url = httpx.URL(server.url)
    return url.host, url.port or 0


async def test_a_pod_that_is_told_to_go_answers_everything_and_exits_0() -> None:
    with ready(*simulated("--drain-seconds", "1", service_ms=20)) as server:
        clients = Clients(address_of(server), seed=0, ask=INFER)
        asking = [asyncio.create_task(clients.ask_on_new_connections()) for _ in range(4)]
        asking += [asyncio.create_task(clients.ask_on_one_connection()) for _ in range(4)]
        await clients.have(40)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait_for_line, '"message":"draining"')
        before, kept_before = clients.outcomes["answered"], clients.kept_open
        await asyncio.gather(*asking)

        assert set(clients.outcomes) == {"answered"}
        assert clients.outcomes["answered"] > before
        # An answer that was under way when the signal came may still keep its connection.
        assert clients.kept_open - kept_before <= len(asking)
        assert await asyncio.to_thread(server.process.wait, 20) == 0


async def test_in_flight_requests_finish_after_the_listener_has_closed() -> None:
    with ready(*simulated("--drain-seconds", "0", "--cores", "1", service_ms=1500)) as server:
        clients = Clients(address_of(server), seed=0, ask=INFER)
        answer = asyncio.create_task(clients.ask_once())
        await until(lambda: clients.connected == 1)
        server.process.send_signal(signal.SIGTERM)
        await clients.find_the_port_closed()
        await answer

        assert clients.outcomes == {"answered": 1}
        assert await asyncio.to_thread(server.process.wait, 20) == 0


async def test_a_second_sigterm_shortens_the_drain_and_loses_nothing() -> None:
    with ready(*simulated("--drain-seconds", "3600", service_ms=20)) as server:
        clients = Clients(address_of(server), seed=0, ask=INFER)
        asking = [asyncio.create_task(clients.ask_on_new_connections()) for _ in range(4)]
        server.process.send_signal(signal.SIGTERM)
        await asyncio.to_thread(server.wait_for_line, '"message":"draining"')
        before = clients.outcomes["answered"]
        await clients.have(before + 20)
        server.process.send_signal(signal.SIGTERM)
        await asyncio.gather(*asking)

        assert set(clients.outcomes) == {"answered"}
        assert await asyncio.to_thread(server.process.wait, 20) == 0
