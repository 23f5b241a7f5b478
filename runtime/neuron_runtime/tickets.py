"""One request on its way through queue and cores: which rows are where, and its answer. `batcher` moves it."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass

from neuron_runtime.admission import Permit
from neuron_runtime.buckets import Shape, join_rows
from neuron_runtime.errors import DeadlineExceededError, RuntimeServingError
from neuron_runtime.tensors import Array


@dataclass(slots=True)
class Answer:
    """Outputs in the model's order, all rows of the request; times in seconds, summed over its batches."""

    outputs: list[Array]
    queue_seconds: float
    """From arrival until a worker was given the first row."""
    batch_wait_seconds: float
    """Behind the call that ran on the core before, and on the way there and back."""
    device_seconds: float


class Ticket:
    """The policy's `Waiting`. `deadline` and `arrived_at` are monotonic seconds."""

    __slots__ = (
        "_answered_rows", "_batch_wait_seconds", "_device_seconds", "_next_row", "_pieces", "_queue_seconds",
        "arrived_at", "attempt", "crashes", "deadline", "fits", "future", "inputs", "permit", "rows",
    )  # fmt: skip

    def __init__(self, inputs: Sequence[Array], fits: int, permit: Permit, arrived_at: float, deadline: float) -> None:
        self.inputs = inputs
        self.rows = len(inputs[0])
        self.fits = fits
        self.permit = permit
        self.arrived_at = arrived_at
        self.deadline = deadline
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.crashes = 0
        self.attempt = 0
        self._next_row = 0
        self._pieces: list[tuple[int, list[Array]]] = []
        self._answered_rows = 0
        self._queue_seconds = 0.0
        self._batch_wait_seconds = 0.0
        self._device_seconds = 0.0

    @property
    def rows_waiting(self) -> int:
        return 0 if self.future.done() else self.rows - self._next_row

    @property
    def row_shapes(self) -> list[Shape]:
        return [array.shape[1:] for array in self.inputs]

    @property
    def patience_ends(self) -> float:
        """Until then, as a suspect, it waits for a second worker."""
        return (self.arrived_at + self.deadline) / 2

    def take(self, rows: int, now: float) -> "Part":
        if self._next_row == 0 and self.attempt == 0:
            self._queue_seconds = now - self.arrived_at
        part = Part(self, self._next_row, rows, self.attempt)
        self._next_row += rows
        self.permit.started(rows)
        return part

    def add(self, first_row: int, outputs: list[Array], batch_wait_seconds: float, device_seconds: float) -> None:
        """The answer for the rows from `first_row` on; the last one completes the request."""
        self._answered_rows += len(outputs[0])
        self._batch_wait_seconds += batch_wait_seconds
        self._device_seconds += device_seconds
        if self._answered_rows < self.rows or self._pieces:
            self._pieces.append((first_row, outputs))
            if self._answered_rows < self.rows:
                return
            outputs = join_rows(self._pieces)
        self.future.set_result(Answer(outputs, self._queue_seconds, self._batch_wait_seconds, self._device_seconds))

    def start_over(self) -> None:
        """Back to the first row; pieces of the attempt so far no longer count."""
        self.permit.returned(self._next_row)
        self.attempt += 1
        self._next_row = 0
        self._pieces = []
        self._answered_rows = 0

    def expire(self) -> None:
        where = "while it waited in the queue" if self.rows_waiting else "while it was being computed"
        self.fail(DeadlineExceededError(f"the request's deadline passed {where}; nothing was lost"))

    def fail(self, error: RuntimeServingError) -> None:
        if not self.future.done():
            self.future.set_exception(error)


@dataclass(slots=True)
class Part:
    """Rows [first_row, first_row + rows) of a request within one batch."""

    ticket: Ticket
    first_row: int
    rows: int
    attempt: int

    @property
    def is_wanted(self) -> bool:
        return self.ticket.attempt == self.attempt and not self.ticket.future.done()

    @property
    def arrays(self) -> Sequence[Array]:
        if self.rows == self.ticket.rows:
            return self.ticket.inputs
        stop = self.first_row + self.rows
        return [array[self.first_row : stop] for array in self.ticket.inputs]
