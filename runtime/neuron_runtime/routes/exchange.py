"""One HTTP request and its reply at the level of ASGI messages: reading bodies within limits, writing JSON.

Plain ASGI because the request path is hot: a framework's request and response objects cost more than a batch's share.
"""

import asyncio
import itertools
import math
import uuid
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

from neuron_runtime.errors import (
    BodyTooLateError,
    ClientGoneError,
    DeadlineExceededError,
    InvalidRequestError,
    TooLargeError,
)

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
Headers: TypeAlias = list[tuple[bytes, bytes]]

REQUEST_ID_MAX_LENGTH = 128
_process_id = uuid.uuid4().hex[:12]
_request_numbers = itertools.count(1)

JSON = (b"content-type", b"application/json")
CLOSE = (b"connection", b"close")
CONNECTION = "neuron_runtime.connection"
"""Where a scope holds its Connection. Absent where no real connection carries the request."""


@dataclass(slots=True)
class HttpRequest:
    """What a task needs of the request. `deadline` is in monotonic seconds."""

    headers: dict[bytes, bytes]
    body: bytes
    deadline: float


class Connection(Protocol):
    """What a request may ask of the connection that carries it."""

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Have `on_gone` called once when the client leaves; at once if it has left already."""

    def unwatch(self) -> None: ...

    def reply(self, status: int, body: bytes, headers: "Headers") -> bool:
        """Answer the request at once; False, and nothing is written, when it must be sent by `reply`."""

    def whole_body(self) -> bytes | None:
        """The request's body if all of it has come, else None: it is to be received."""

    @property
    def body_timeout_seconds(self) -> float: ...


async def read_body(
    headers: dict[bytes, bytes],
    receive: Receive,
    limit_bytes: int,
    deadline: float,
    connection: Connection | None = None,
) -> bytes:
    """The whole body; TooLargeError, BodyTooLateError, DeadlineExceededError or ClientGoneError when it does not come
    as it should. What is refused is not read: the connection drops it."""
    encoding = headers.get(b"content-encoding", b"identity")
    if encoding != b"identity":
        raise InvalidRequestError(f"content-encoding {encoding.decode('latin-1')} is not supported; send plain JSON")
    declared = headers.get(b"content-length", b"")
    if declared.isdigit() and int(declared) > limit_bytes:
        raise _too_large(limit_bytes)
    body = connection.whole_body() if connection is not None else None
    if body is None:
        return await _receive_body(receive, limit_bytes, deadline, connection)
    if len(body) > limit_bytes:
        raise _too_large(limit_bytes)
    return body


async def _receive_body(receive: Receive, limit_bytes: int, deadline: float, connection: Connection | None) -> bytes:
    now = asyncio.get_running_loop().time()
    seconds = connection.body_timeout_seconds if connection is not None else math.inf
    try:
        async with asyncio.timeout_at(min(deadline, now + seconds)):
            return await _collect(receive, limit_bytes)
    except TimeoutError:
        if deadline <= now + seconds:
            raise DeadlineExceededError("the request's deadline passed before its body had arrived") from None
        raise BodyTooLateError(f"the body did not arrive within {seconds:g} seconds; send it faster") from None


async def _collect(receive: Receive, limit_bytes: int) -> bytes:
    pieces: list[bytes] = []
    size = 0
    more = True
    while more:
        message = await receive()
        _check_connected(message)
        pieces.append(message.get("body", b""))
        size += len(pieces[-1])
        if size > limit_bytes:
            raise _too_large(limit_bytes)
        more = message.get("more_body", False)
    return b"".join(pieces)


def _check_connected(message: Message) -> None:
    if message["type"] == "http.disconnect":
        raise ClientGoneError("the client left before its request was complete")


def _too_large(limit_bytes: int) -> TooLargeError:
    return TooLargeError(f"the body is larger than {limit_bytes} bytes, the limit of this server")


async def reply(send: Send, status: int, body: bytes, headers: Headers) -> None:
    length = (b"content-length", str(len(body)).encode())
    await send({"type": "http.response.start", "status": status, "headers": [length, *headers]})
    await send({"type": "http.response.body", "body": body})


def request_id_of(headers: dict[bytes, bytes]) -> bytes:
    """The caller's id if it is one that can be logged and sent back, else one of ours."""
    given = headers.get(b"x-request-id", b"")
    if 0 < len(given) <= REQUEST_ID_MAX_LENGTH and given.isascii() and given.decode("ascii").isprintable():
        return given
    return f"{_process_id}-{next(_request_numbers)}".encode()
