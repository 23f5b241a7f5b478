"""One client's connection: uvicorn's HTTP protocol with what uvicorn has none of. uvicorn makes one per connection.

Limits on heads, deadlines (told by `connections`, so that a request costs no timer), refusals in JSON and in their
turn, and ends that let the client read what it was told. The request path finds it in its scope. It reaches into
uvicorn's own state: the version is pinned, and test_http_protocol.py holds what is relied on.
"""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, cast

import httptools
from uvicorn.protocols.http.flow_control import HIGH_WATER_LIMIT
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from neuron_runtime.connections import Connections, Phase, Stand
from neuron_runtime.errors import RuntimeServingError
from neuron_runtime.routes.exchange import CLOSE, CONNECTION, JSON, Headers, Receive, Scope, Send, reply
from neuron_runtime.wire import open_inference

HEAD_BYTES = 32 * 1024
HEAD_FIELDS = 128
PIPELINED = 256
"""Requests that may wait behind the one being answered. Each costs memory before anything could refuse it."""
PIPELINED_READING = 16
"""With so many waiting, no more are read until they are answered."""


@dataclass(frozen=True)
class Refusal:
    """An answer to what is no request of any API; `cause` is its label in neuron_model_connections_ended."""

    status: int
    cause: str
    message: str

    def body(self) -> bytes:
        return open_inference.error_body(RuntimeServingError(self.message))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await reply(send, self.status, self.body(), [JSON, CLOSE])


class _RefusedError(Exception):
    """Raised in the parser's callbacks, where nothing else stops it."""

    def __init__(self, refusal: Refusal) -> None:
        self.refusal = refusal


HEAD_TOO_LARGE = Refusal(
    431, "head-too-large", f"the request's head has more than {HEAD_FIELDS} fields or {HEAD_BYTES} bytes; send less"
)
TOO_MANY_PIPELINED = Refusal(
    429, "pipelined", f"more than {PIPELINED} requests wait on this connection; read their answers or open another"
)


class _Transport:
    """What uvicorn's requests need of the transport, with an end that waits for the client (`HttpProtocol.leave`)."""

    def __init__(self, protocol: "HttpProtocol", transport: asyncio.Transport) -> None:
        self.write = transport.write
        self.close = protocol.leave
        self._protocol = protocol

    def is_closing(self) -> bool:
        return self._protocol.has_ended


class HttpProtocol(HttpToolsProtocol):
    def __init__(self, connections: Connections, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self.body_timeout_seconds = connections.limits.body_seconds
        self.has_ended = False
        self._connections = connections
        self._is_surplus = False
        self._is_deaf = False
        self._last_words = b""
        self._head_again = b""
        self._running: RequestResponseCycle | None = None
        self._on_gone: Callable[[], None] | None = None
        self._requests = 0
        self._chunk_bytes = 0
        self._has_progressed = False
        self._idle_bytes = 0
        self._dropped_bytes = 0
        self._drop_until = 0.0

    # For the request path

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Have `on_gone` called once, in the event loop, when the client leaves; at once if it has left already.

        For the request being answered, once its body is read: one at a time, and ended by `unwatch` before the reply.
        """
        if self.parser is None:
            on_gone()
            return
        self._on_gone = on_gone
        if len(self.pipeline) < PIPELINED_READING:
            self.flow.resume_reading()  # a large body pauses reading, and then nobody sees the client leave

    def unwatch(self) -> None:
        self._on_gone = None

    def whole_body(self) -> bytes | None:
        """The body of the request being answered if all of it has come, else None: it is to be received."""
        running = self._running
        if running is None or running.more_body or running.disconnected:
            return None
        body, running.body = running.body, bytearray()
        return bytes(body)

    def reply(self, status: int, body: bytes, headers: Headers) -> bool:
        """Write the whole answer to the request being answered at once: uvicorn's way of two messages costs a tenth of
        a short request. False, and nothing is written, when it must go that way: the client reads too slowly."""
        cycle = self._running
        if cycle is None or cycle.response_started or cycle.disconnected or self.flow.write_paused:
            return False
        is_last = not cycle.keep_alive or CLOSE in headers
        parts = [STATUS_LINE[status]]
        for name, value in (*cycle.default_headers, *headers):
            parts += (name, b": ", value, b"\r\n")
        if is_last and CLOSE not in headers:
            parts.append(b"connection: close\r\n")
        parts += (b"content-length: %d\r\n\r\n" % len(body), body)
        self._real_transport.write(b"".join(parts))
        cycle.waiting_for_100_continue = False
        cycle.response_started = cycle.response_complete = True
        cycle.message_event.set()
        if is_last:
            cycle.keep_alive = False
            self.leave()
        cycle.on_response()
        return True

    # For `connections`

    def stand(self) -> Stand:
        if self._real_transport.get_write_buffer_size():
            return Phase.REPLY, self._requests
        if self.has_ended:
            return Phase.ENDED, self._dropped_bytes if self.loop.time() < self._drop_until else -1
        if self._is_answering():
            return Phase.BUSY, self._requests
        if self.scope is not None and (self.cycle is None or self.cycle.scope is not self.scope):
            return Phase.HEAD, self._requests
        if self.cycle is not None and self.cycle.more_body:
            return Phase.REST, self._requests
        return Phase.IDLE, self._requests

    def expire(self, phase: Phase) -> None:
        if phase is Phase.HEAD:
            seconds = self._connections.limits.head_seconds
            self._refuse(Refusal(408, "head-timeout", f"the request's head did not arrive within {seconds:g} seconds"))
        elif phase is Phase.IDLE:
            self._close()
        else:
            if phase is not Phase.ENDED:
                self._connections.count("body-timeout" if phase is Phase.REST else "reply-timeout")
            self._real_transport.abort()

    def evict(self) -> None:
        self._close()

    # uvicorn's

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._real_transport = cast(asyncio.Transport, transport)
        super().connection_made(self._real_transport)
        self.transport = cast(asyncio.Transport, _Transport(self, self._real_transport))
        self._is_surplus = not self._connections.opened(self, self.loop.time())

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.closed(self)
        self.has_ended = True
        if self._is_answering():
            self._abandon()  # uvicorn only tells the request that was read last
        super().connection_lost(exc)
        # These refer back to the connection, and each closed one would wait for the garbage collector.
        self._running = self._on_gone = None
        self.pipeline.clear()
        del self.cycle, self.scope, self.transport

    def data_received(self, data: bytes) -> None:
        if self.has_ended or self._is_deaf:
            self._dropped_bytes += len(data)
            return
        self._chunk_bytes = len(data)
        self._has_progressed = False
        try:
            self._feed(data)
        except httptools.HttpParserError as error:
            refused = error.__context__
            message = "this cannot be read as HTTP; check the request line, the headers and the framing of the body"
            self._refuse(refused.refusal if isinstance(refused, _RefusedError) else Refusal(400, "invalid", message))
            return
        if self._has_progressed:
            self._idle_bytes = 0
            return
        # An endless head, trailer or run of empty lines, which the parser would go on collecting.
        self._idle_bytes += len(data)
        if self._idle_bytes > HEAD_BYTES:
            self._refuse(HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        if len(self.pipeline) >= PIPELINED:
            raise _RefusedError(TOO_MANY_PIPELINED)
        self._requests += 1
        super().on_message_begin()
        scope: Any = self.scope
        scope[CONNECTION] = self

    def on_headers_complete(self) -> None:
        self._has_progressed = True
        if self.parser.should_upgrade() and self.parser.get_method() != b"CONNECT":
            self._head_again = self._head_without_upgrade()
            return
        self.app = self._app_for_head()
        super().on_headers_complete()
        self.headers = []  # for trailers, which must not pass for headers
        # Until the body has come nobody knows whether a client that asks before sending it will.
        if self.expect_100_continue or self._is_last():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        self._has_progressed = True
        cycle = self.cycle
        if cycle.response_complete:
            return
        cycle.body += body
        if len(cycle.body) > HIGH_WATER_LIMIT:
            self.flow.pause_reading()
        cycle.message_event.set()

    def on_message_complete(self) -> None:
        self._has_progressed = True
        if self._head_again:
            return
        cycle = self.cycle
        cycle.more_body = False
        if self.expect_100_continue and not self._is_last():
            cycle.keep_alive = cycle.scope["http_version"] == "1.1" and self.parser.should_keep_alive()
        cycle.message_event.set()

    def on_response_complete(self) -> None:
        """As uvicorn's, without its timer for each request, and reading no further while many requests wait."""
        self.server_state.total_requests += 1
        if self.has_ended:
            return
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())
        elif self._last_words:
            self._real_transport.write(self._last_words)
            self.leave()
            return
        if len(self.pipeline) < PIPELINED_READING:
            self.flow.resume_reading()

    def shutdown(self) -> None:
        """The server drains. An idle connection is left to `connections`: a request may be on its way."""
        if self._running is not None:
            self._running.keep_alive = False

    def leave(self) -> None:
        """End the connection, and take what the client still sends: closing on unread bytes resets the connection, and
        the client would see that instead of its reply."""
        if self.has_ended:
            return
        is_complete = self.cycle is not None and not self.cycle.more_body and not self._is_deaf
        if self._real_transport.is_closing() or (is_complete and not self.parser.should_keep_alive()):
            self._close()  # the client has left, or said that it sends no more
            return
        self.has_ended = True
        self._drop_until = self.loop.time() + self.body_timeout_seconds
        self._real_transport.write_eof()
        self.flow.resume_reading()

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    # Our own

    def _feed(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as upgrade:
                # The offer of another protocol is not taken up, and the parser would take the body for that protocol.
                self.parser = httptools.HttpRequestParser(self)
                self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
                rest = memoryview(self._head_again + bytes(rest[upgrade.args[0] :]))
                self._head_again = b""
            else:
                return

    def _head_without_upgrade(self) -> bytes:
        line = b"%s %s HTTP/%s\r\n" % (self.parser.get_method(), self.url, self.parser.get_http_version().encode())
        fields = [b"%s: %s\r\n" % field for field in self.headers if field[0] != b"upgrade"]
        return b"".join([line, *fields, b"\r\n"])

    def _is_answering(self) -> bool:
        running = self._running
        return running is not None and not running.response_complete and not running.disconnected

    def _is_last(self) -> bool:
        return self._is_surplus or self._connections.is_draining

    def _app_for_head(self) -> Any:
        if len(self.headers) > HEAD_FIELDS or self._idle_bytes + self._chunk_bytes > HEAD_BYTES:
            size = len(self.url) + sum(len(name) + len(value) for name, value in self.headers)
            if len(self.headers) > HEAD_FIELDS or size > HEAD_BYTES:
                self._connections.count(HEAD_TOO_LARGE.cause)
                return HEAD_TOO_LARGE
        # Probes and /metrics are answered however many clients there are.
        if self._is_surplus and self.parser.get_method() not in (b"GET", b"HEAD"):
            self._connections.count("surplus")
            most = self._connections.limits.open
            return Refusal(503, "surplus", f"{most} connections are open and busy, the limit of this server; try later")
        return self.config.loaded_app

    def _refuse(self, refusal: Refusal) -> None:
        """Answer what cannot be read, after everything that came before it, and read no more."""
        self._is_deaf = True
        self._connections.count(refusal.cause)
        broken = self.cycle if self.cycle is not None and self.cycle.more_body else None
        if broken is not None and broken is not self._running:
            self.pipeline.popleft()  # the newest
        elif broken is not None and (broken.response_started or broken.response_complete):
            self.leave()  # it has its answer
            return
        elif broken is not None:
            self._abandon()
        words = self._words(refusal)
        if self._is_answering():
            self._last_words = words
        else:
            self._real_transport.write(words)
            self.leave()

    def _abandon(self) -> None:
        """Tell the request being answered that its client is gone."""
        assert self._running is not None, "asked for only while one is being answered"
        self._running.disconnected = True
        self._running.message_event.set()
        on_gone, self._on_gone = self._on_gone, None
        if on_gone is not None:
            on_gone()

    def _words(self, refusal: Refusal) -> bytes:
        body = refusal.body()
        length = (b"content-length", str(len(body)).encode())
        headers: Headers = [*self.server_state.default_headers, JSON, length, CLOSE]
        return b"".join([STATUS_LINE[refusal.status], *(b"%s: %s\r\n" % each for each in headers), b"\r\n", body])

    def _close(self) -> None:
        self.has_ended = True
        self._real_transport.close()
