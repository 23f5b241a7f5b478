"""Every error the server raises on purpose, and the HTTP status each one becomes.

RuntimeServingError
├── InvalidRequestError       400  the request says something the model cannot take; names the field
│   ├── UnknownPathError      404  no such model, version or path
│   ├── MethodNotAllowedError 405  the path exists, the method does not
│   ├── TooLargeError         413  body or number of rows over the limit
│   └── RefusedPayloadError   400  exactly this input crashed two workers a while ago
├── BodyTooLateError          408  the body did not arrive in time; ends the connection
├── QueueFullError            429  no room in the queue; carries Retry-After
├── NotReadyError             503  loading, draining, or no worker alive that is worth waiting for
├── DeadlineExceededError     504  not answered in time; never computed if it was still queued
├── InferenceFailedError      500  this request's own execution failed or crashed its worker twice
└── ClientGoneError           499  the client left; recorded, never sent

What ends the whole process instead is termination.FatalError.
"""

from typing import ClassVar

REFUSALS = ("invalid", "too-large", "slow-body", "queue-full", "not-ready", "deadline", "poison")
"""Every `refusal` there is; poison is a payload that crashed two workers a while ago."""


class RuntimeServingError(Exception):
    """Base of all errors below. `message` is what the client or the operator reads: what, where, what next.

    `refusal` is the reason by which refused requests are counted; empty where the request was taken and then failed.
    """

    status: ClassVar[int] = 500
    refusal: ClassVar[str] = ""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.message = message


class InvalidRequestError(RuntimeServingError):
    """`field` names the part of the request that is wrong, as the client spelled it; None for the whole body."""

    status = 400
    refusal = "invalid"

    def __init__(self, message: str, field: str | None = None) -> None:
        super().__init__(message)
        self.field = field


class UnknownPathError(InvalidRequestError):
    status = 404


class MethodNotAllowedError(InvalidRequestError):
    status = 405


class TooLargeError(InvalidRequestError):
    status = 413
    refusal = "too-large"


class RefusedPayloadError(InvalidRequestError):
    refusal = "poison"


class BodyTooLateError(RuntimeServingError):
    status = 408
    refusal = "slow-body"


class QueueFullError(RuntimeServingError):
    status = 429
    refusal = "queue-full"

    def __init__(self, message: str, retry_after_seconds: int) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


class NotReadyError(RuntimeServingError):
    status = 503
    refusal = "not-ready"


class DeadlineExceededError(RuntimeServingError):
    status = 504
    refusal = "deadline"


class InferenceFailedError(RuntimeServingError):
    status = 500


class ClientGoneError(RuntimeServingError):
    status = 499
