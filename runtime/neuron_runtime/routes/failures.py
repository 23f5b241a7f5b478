"""What a client is told when something was raised: each API's own error shape, and a request id where it is our fault.

HANDLERS answer for every quiet route: unknown paths, wrong methods, and what nobody foresaw. The task endpoints answer
for the errors of a request themselves, and share only what is said of the unforeseen.
"""

import logging
from collections.abc import Callable, Mapping

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

from neuron_runtime.errors import InferenceFailedError, MethodNotAllowedError, RuntimeServingError, UnknownPathError
from neuron_runtime.routes.exchange import request_id_of
from neuron_runtime.wire import open_inference, openai

log = logging.getLogger("neuron_runtime.requests")


def our_fault(request_id: bytes) -> InferenceFailedError:
    """What the client is told of an error that nobody foresaw."""
    return InferenceFailedError(
        "the server failed on this request, and not because of what it says; its log tells why under "
        + request_id.decode()
    )


def _http_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException), "registered for this type"
    if error.status_code == 405:
        allowed = (error.headers or {}).get("Allow", "")
        refused = MethodNotAllowedError(f"{request.method} is not allowed on {request.url.path}; use {allowed}")
        response = _error(request, refused)
        response.headers["allow"] = allowed
        return response
    return _error(request, UnknownPathError(f"there is nothing at {request.url.path}; see GET /v2 and GET /v1/models"))


def _error(request: Request, error: Exception) -> Response:
    assert isinstance(error, RuntimeServingError), "registered for this type"
    body = openai.error_body(error) if request.url.path.startswith("/v1/") else open_inference.error_body(error)
    return Response(body, error.status, media_type="application/json")


def _unexpected(request: Request, error: Exception) -> Response:
    request_id = request_id_of(dict(request.scope["headers"]))
    facts = {"requestId": request_id.decode(), "path": request.url.path}
    log.error("request failed unexpectedly", exc_info=error, extra=facts)
    response = _error(request, our_fault(request_id))
    response.headers["x-request-id"] = request_id.decode()
    return response


HANDLERS: Mapping[type[Exception], Callable[[Request, Exception], Response]] = {
    HTTPException: _http_error,
    RuntimeServingError: _error,
    Exception: _unexpected,
}
"""For Starlette's exception middleware."""
