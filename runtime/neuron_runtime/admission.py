"""Who may wait: a permit counted in rows before any work is done for a request. Pure.

The routes take a permit, the batcher tells it which rows have left the queue. Rows are the unit because one request of
64 rows costs what 64 requests of one row cost.
"""

import math
from collections.abc import Callable
from types import TracebackType
from typing import Self

from neuron_runtime.errors import QueueFullError, TooLargeError

LONGEST_RETRY_AFTER_SECONDS = 30
SMALLEST_CAPACITY_ROWS = 256
QUEUED_BATCHES_PER_WORKER = 32


def capacity_rows(asked: int, batch_rows: int, row_bytes: int, most_bytes: int) -> int:
    """How many rows may wait. `asked` 0 means the default; `batch_rows` is one full batch on every worker."""
    rows = asked or max(SMALLEST_CAPACITY_ROWS, QUEUED_BATCHES_PER_WORKER * batch_rows)
    return min(rows, max(batch_rows, most_bytes // row_bytes))


class Admission:
    """Counts the rows that were admitted and are on no core yet."""

    def __init__(self, capacity_rows: int, max_rows_per_request: int, seconds_per_row: Callable[[], float]) -> None:
        self.capacity_rows = capacity_rows
        self.max_rows_per_request = min(max_rows_per_request, capacity_rows)
        self.waiting_rows = 0
        self._seconds_per_row = seconds_per_row

    def check_room(self) -> None:
        """QueueFullError when not even one row would be admitted; asked before a body is read."""
        if self.waiting_rows >= self.capacity_rows:
            raise self._full()

    def admit(self, rows: int) -> "Permit":
        """A permit for `rows`; TooLargeError when they are too many at once, QueueFullError when the queue is full."""
        if rows > self.max_rows_per_request:
            raise TooLargeError(
                f"the request has {rows} rows, at most {self.max_rows_per_request} are served at once; "
                "split it into several requests"
            )
        if self.waiting_rows + rows > self.capacity_rows:
            raise self._full()
        self.waiting_rows += rows
        return Permit(self, rows)

    def _full(self) -> QueueFullError:
        seconds = math.ceil(self.waiting_rows * self._seconds_per_row())
        return QueueFullError(
            f"the queue is full ({self.waiting_rows} of {self.capacity_rows} rows wait); try again later",
            retry_after_seconds=max(1, min(LONGEST_RETRY_AFTER_SECONDS, seconds)),
        )


class Permit:
    """The rows of one request that still wait; leaving the context gives the rest back, whatever happened."""

    def __init__(self, admission: Admission, rows: int) -> None:
        self._admission = admission
        self._waiting = rows

    def started(self, rows: int) -> None:
        """`rows` of the request went to a core."""
        self._waiting -= rows
        self._admission.waiting_rows -= rows

    def returned(self, rows: int) -> None:
        """`rows` came back from a lost worker. They were admitted once, so a full queue does not refuse them."""
        self._waiting += rows
        self._admission.waiting_rows += rows

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._admission.waiting_rows -= self._waiting
        self._waiting = 0
