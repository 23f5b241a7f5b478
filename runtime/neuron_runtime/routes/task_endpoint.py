"""The frame around every task: refuse early, read the body, run the task, reply, count. One ASGI callable per API."""

import asyncio
import logging
import time

from neuron_runtime.access_log import AccessLog, AccessRecord, trace_facts
from neuron_runtime.errors import (
    BodyTooLateError,
    ClientGoneError,
    InvalidRequestError,
    QueueFullError,
    RuntimeServingError,
    TooLargeError,
)
from neuron_runtime.routes.exchange import (
    CLOSE,
    CONNECTION,
    JSON,
    Connection,
    Headers,
    HttpRequest,
    Receive,
    Scope,
    Send,
    read_body,
    reply,
    request_id_of,
)
from neuron_runtime.routes.failures import our_fault
from neuron_runtime.routes.tasks import Api, Outcome
from neuron_runtime.service import Service
from neuron_runtime.tickets import Answer

log = logging.getLogger("neuron_runtime.requests")


class TaskEndpoint:
    """An ASGI application for one API."""

    def __init__(self, service: Service, api: Api) -> None:
        self._service = service
        self._api = api
        self._request_seconds = service.metrics.request_seconds.labels(api.name)
        self._queue_seconds = service.metrics.queue_seconds
        self._access_log = AccessLog(service.settings.access_log_ratio)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        began = time.monotonic()
        headers = dict(scope["headers"])
        request_id = request_id_of(headers)
        connection: Connection | None = scope.get(CONNECTION)
        answer: Answer | None = None
        try:
            outcome = await self._answer(connection, headers, receive, began)
            status, body, answer = 200, outcome.body, outcome.answer
            total = time.monotonic() - began
            self._request_seconds.observe(total)
            self._queue_seconds.observe(answer.queue_seconds)
            timing = (b"server-timing", _server_timing(answer, total))
            extra: Headers = [*outcome.headers, (b"x-request-id", request_id), timing]
        except ClientGoneError:
            self._service.metrics.canceled.inc()
            return
        except RuntimeServingError as error:
            self._note_failure(error, request_id, headers)
            status, body, extra = self._refusal(error, request_id)
        except Exception:
            facts = {"requestId": request_id.decode(), "path": scope["path"]}
            log.exception("request failed unexpectedly", extra=facts | trace_facts(headers))
            status, body, extra = self._refusal(our_fault(request_id), request_id)
        self._service.metrics.request_done(self._api.name, status)
        if self._access_log.wants(request_id, headers):
            record = _record(self._api.name, status, time.monotonic() - began, answer)
            self._access_log.write(request_id, headers, record)
        if self._service.is_draining:
            extra.append(CLOSE)
        if connection is None or not connection.reply(status, body, extra):
            await reply(send, status, body, extra)

    async def _answer(
        self, connection: Connection | None, headers: dict[bytes, bytes], receive: Receive, began: float
    ) -> Outcome:
        self._service.check_admittable()
        settings = self._service.settings
        deadline = began + _timeout_seconds(headers, settings.request_timeout_seconds)
        body = await read_body(headers, receive, settings.max_body_bytes, deadline, connection)
        request = HttpRequest(headers, body, deadline)
        if connection is None:
            return await self._api.task(self._service, request)
        departure = Departure()
        connection.watch(departure)
        try:
            return await self._api.task(self._service, request)
        except asyncio.CancelledError:
            departure.check()
            raise
        finally:
            connection.unwatch()

    def _refusal(self, error: RuntimeServingError, request_id: bytes) -> tuple[int, bytes, Headers]:
        headers = [JSON, (b"x-request-id", request_id), *_error_headers(error)]
        return error.status, self._api.error_body(error), headers

    def _note_failure(self, error: RuntimeServingError, request_id: bytes, headers: dict[bytes, bytes]) -> None:
        if error.refusal:
            self._service.metrics.refused.labels(error.refusal).inc()
        if error.status >= 500:
            facts = {"requestId": request_id.decode(), "code": error.status, "error": error.message}
            log.warning("request failed", extra=facts | trace_facts(headers))


class Departure:
    """What a connection calls when its client leaves: cancels the request's task, and remembers that it did."""

    __slots__ = ("_has_left", "_task")

    def __init__(self) -> None:
        self._task = asyncio.current_task()
        self._has_left = False

    def __call__(self) -> None:
        assert self._task is not None, "uvicorn runs each request in a task"
        self._has_left = True
        self._task.cancel()

    def check(self) -> None:
        """Within a task that was canceled: ClientGoneError when that was why."""
        if self._has_left and self._task is not None:
            self._task.uncancel()
            raise ClientGoneError("the client left before its answer") from None


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


def _record(api: str, code: int, total_seconds: float, answer: Answer | None) -> AccessRecord:
    if answer is None:
        return AccessRecord(api, code, total_seconds)
    times = answer.queue_seconds, answer.batch_wait_seconds, answer.device_seconds
    return AccessRecord(api, code, total_seconds, len(answer.outputs[0]), *times)


def _server_timing(answer: Answer, total_seconds: float) -> bytes:
    """Milliseconds, as the header has them: in the queue, behind other batches, on the device, all in all."""
    return b"queue;dur=%.3f, batch;dur=%.3f, device;dur=%.3f, total;dur=%.3f" % (
        1000 * answer.queue_seconds,
        1000 * answer.batch_wait_seconds,
        1000 * answer.device_seconds,
        1000 * total_seconds,
    )


def _error_headers(error: RuntimeServingError) -> Headers:
    if isinstance(error, QueueFullError):
        return [(b"retry-after", str(error.retry_after_seconds).encode())]
    if isinstance(error, BodyTooLateError) or (isinstance(error, TooLargeError) and error.field is None):
        return [CLOSE]  # what is left of the body would be read as the next request
    return []
