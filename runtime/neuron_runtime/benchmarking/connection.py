"""One keep-alive connection to the server under load: sends the prebuilt request, tells when its answer is complete.

Used by `load`, which decides what is sent when. One request at a time: no pipelining. Bodies are skipped, not kept.
"""

import asyncio
import contextlib
import socket
import time
from typing import Protocol, cast

import httptools

Address = tuple[int, tuple[object, ...]]
"""Family, and what connect() takes for it."""
CLOSED = "connection closed"
MALFORMED = "malformed answer"


class Driver(Protocol):
    def answered(self, connection: "Connection", status: int) -> None: ...

    def lost(self, connection: "Connection") -> None: ...


class Connection(asyncio.Protocol):
    """`due` is the driver's, for the request in flight; `received_at` is when the last bytes came; `failure`
    is what a lost request failed of."""

    __slots__ = (
        "_driver",
        "_parser",
        "_request",
        "_socket",
        "_transport",
        "due",
        "failure",
        "is_busy",
        "is_open",
        "received_at",
    )

    def __init__(self, driver: Driver, request: bytes, connected: socket.socket) -> None:
        self._driver = driver
        self._request = request
        self._socket = connected
        self._parser = httptools.HttpResponseParser(self)
        self.due = self.received_at = 0.0
        self.failure = CLOSED
        self.is_busy = False
        self.is_open = True

    def send(self) -> None:
        # Straight to the socket: uvloop's transport would hold it back until all answers at hand are read.
        self.is_busy = True
        try:
            sent = self._socket.send(self._request)
        except BlockingIOError:
            sent = 0
        except OSError:
            self.is_open = False
            self._transport.abort()
            return
        if sent < len(self._request):
            self._transport.write(self._request[sent:])

    def abort(self, failure: str) -> None:
        """Give the request in flight up; `lost` follows."""
        self.failure = failure
        self.is_open = False
        self._transport.abort()

    def close(self) -> None:
        self.is_open = False
        self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none by inheritance

    def data_received(self, data: bytes) -> None:
        self.received_at = time.perf_counter()
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self.abort(MALFORMED)

    def on_message_complete(self) -> None:
        status = self._parser.get_status_code()
        if status < 200 or not self.is_busy:
            return  # an interim answer, or one nobody asked for
        self.is_busy = False
        if not self._parser.should_keep_alive():
            self.close()
        self._driver.answered(self, status)

    def connection_lost(self, error: Exception | None) -> None:
        self.is_open = False
        self._driver.lost(self)


async def connect(driver: Driver, request: bytes, address: Address) -> Connection:
    """OSError when the server does not take the connection."""
    loop = asyncio.get_running_loop()
    with contextlib.ExitStack() as undo:
        connected = undo.enter_context(socket.socket(address[0], socket.SOCK_STREAM))
        connected.settimeout(0)
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await loop.sock_connect(connected, address[1])
        _, connection = await loop.create_connection(lambda: Connection(driver, request, connected), sock=connected)
        undo.pop_all()
    return connection
