"""The frame around every task: refuse early, read the body, run the task, reply, count. One ASGI callable per API."""

import asyncio
import logging
import time
from collections.abc import Awaitable

from neuron_runtime.batcher import Answer
from neuron_runtime.errors import (
    ClientGoneError,
    InvalidRequestError,
    QueueFullError,
    RuntimeServingError,
    TooLargeError,
)
from neuron_runtime.routes.exchange import (
    CLOSE,
    JSON,
    Headers,
    HttpRequest,
    Message,
    Receive,
    Scope,
    Send,
    read_body,
    reply,
    request_id_of,
)
from neuron_runtime.routes.tasks import Api, Outcome
from neuron_runtime.service import Service

log = logging.getLogger("neuron_runtime.requests")


class TaskEndpoint:
    """An ASGI application for one API."""

    def __init__(self, service: Service, api: Api) -> None:
        self._service = service
        self._api = api
        self._request_seconds = service.metrics.request_seconds.labels(api.name)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        headers = dict(scope["headers"])
        request_id = request_id_of(headers)
        extra: Headers = [(b"x-request-id", request_id)]
        try:
            outcome = await self._answer(headers, receive)
            status, body = 200, outcome.body
            total = time.monotonic() - began
            self._observe(outcome.answer, total)
            extra += [*outcome.headers, (b"server-timing", _server_timing(outcome.answer, total))]
        except ClientGoneError:
            self._service.metrics.canceled.inc()
            return
        except RuntimeServingError as error:
            status, body = error.status, self._api.error_body(error)
            extra += [JSON, *_error_headers(error)]
            if status >= 500:
                log.warning(
                    "request failed",
                    extra={"requestId": request_id.decode(), "code": status, "error": error.message},
                )
        self.count(status)
        if log.isEnabledFor(logging.DEBUG):
            facts = {"requestId": request_id.decode(), "api": self._api.name, "code": status}
            log.debug("request", extra=facts | {"seconds": time.monotonic() - began})
        if self._service.is_draining:
            extra.append(CLOSE)
        await reply(send, status, body, extra)

    def count(self, status: int) -> None:
        self._service.metrics.request_done(self._api.name, status)

    async def _answer(self, headers: dict[bytes, bytes], receive: Receive) -> Outcome:
        self._service.check_admittable()
        settings = self._service.settings
        deadline = asyncio.get_running_loop().time() + _timeout_seconds(headers, settings.request_timeout_seconds)
        body = await read_body(headers, receive, settings.max_body_bytes, deadline)
        return await _unless_gone(self._api.task(self._service, HttpRequest(headers, body, deadline)), receive)

    def _observe(self, answer: Answer, total_seconds: float) -> None:
        self._request_seconds.observe(total_seconds)
        self._service.metrics.queue_seconds.observe(answer.queue_seconds)


async def _unless_gone(work: Awaitable[Outcome], receive: Receive) -> Outcome:
    """The work's result; canceled, and ClientGoneError, as soon as the client has left."""
    task = asyncio.current_task()
    assert task is not None, "uvicorn runs each request in a task"
    watcher = asyncio.ensure_future(receive())

    def on_gone(gone: asyncio.Future[Message]) -> None:
        if not gone.cancelled():
            task.cancel()

    watcher.add_done_callback(on_gone)
    try:
        return await work
    except asyncio.CancelledError:
        if watcher.done() and not watcher.cancelled():
            task.uncancel()
            raise ClientGoneError("the client left before its answer") from None
        raise
    finally:
        watcher.remove_done_callback(on_gone)
        watcher.cancel()


def _timeout_seconds(headers: dict[bytes, bytes], most: float) -> float:
    """The header can only shorten what the server allows."""
    given = headers.get(b"x-request-timeout-seconds")
    if given is None:
        return most
    try:
        seconds = float(given)
    except ValueError:
        seconds = 0.0
    if not seconds > 0:
        raise InvalidRequestError(
            "header X-Request-Timeout-Seconds must be a number above 0", "X-Request-Timeout-Seconds"
        )
    return min(most, seconds)


def _server_timing(answer: Answer, total_seconds: float) -> bytes:
    queue, device, total = (1000 * s for s in (answer.queue_seconds, answer.device_seconds, total_seconds))
    return f"queue;dur={queue:.3f}, device;dur={device:.3f}, total;dur={total:.3f}".encode()


def _error_headers(error: RuntimeServingError) -> Headers:
    if isinstance(error, QueueFullError):
        return [(b"retry-after", str(error.retry_after_seconds).encode())]
    if isinstance(error, TooLargeError) and error.field is None:
        return [CLOSE]  # what is left of the body would be read as the next request
    return []
