"""The operator's exceptions; each says by its class whether trying again can help. Pure.

OperatorError
├── InvalidSpecError      the object can't be served as written            final until it is edited
├── LeadershipLostError   another replica leads now                        stop, write nothing
└── ApiError              what the API server answered (cluster.py maps)   retry with backoff
    ├── NotFoundError         404
    ├── ConflictError         409: someone wrote in between
    ├── ForbiddenError        401, 403: our rights or a quota
    ├── RejectedError         400, 422: it will refuse the same object again; final until it is edited
    ├── ThrottledError        429, with the seconds it asked for
    ├── WebhookError          500: an admission webhook that must be asked does not answer
    └── UnreachableError      no answer at all, or any other 5xx
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar


class OperatorError(Exception):
    """Root of everything the operator raises on purpose."""

    is_retryable: ClassVar[bool] = False


@dataclass(frozen=True)
class Problem:
    """One thing wrong with an object: where it is (a field path such as spec.artifact.uri) and what to do."""

    path: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}"


class InvalidSpecError(OperatorError):
    """The NeuronModel can't be read as one; `problems` names every field that is wrong."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("; ".join(str(problem) for problem in self.problems))


class LeadershipLostError(OperatorError):
    """The lease ran out before a write: whoever leads now will do it."""


class ApiError(OperatorError):
    """The API server refused or failed; `status` is its HTTP code, 0 when there was no answer."""

    is_retryable = True

    def __init__(self, message: str, status: int = 0) -> None:
        super().__init__(message)
        self.status = status


class NotFoundError(ApiError):
    """The object isn't there."""


class ConflictError(ApiError):
    """The object changed since it was read, or another manager owns a field."""


class ForbiddenError(ApiError):
    """RBAC, a quota or an admission policy said no; the message names which."""


class RejectedError(ApiError):
    """The object breaks the API's own rules; the same object will be refused again."""

    is_retryable = False


class ThrottledError(ApiError):
    """The API server is busy and said how long to wait."""

    def __init__(self, message: str, status: int = 429, retry_after_s: float = 1.0) -> None:
        super().__init__(message, status)
        self.retry_after_s = retry_after_s


class WebhookError(ApiError):
    """An admission webhook without which nothing is stored can't be asked; the API server itself is well."""


class UnreachableError(ApiError):
    """No connection, a timeout, or a failure inside the API server."""
