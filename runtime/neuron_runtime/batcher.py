"""The asyncio shell around `batch_policy`: keeps the queue, hands batches to workers, joins answers. Cancel-safe.

Called by the task endpoints (`infer`) and by the pool (`on_…`). It decides nothing about which rows run together; a
client that leaves takes only its own rows out, and a lost batch brings each of its requests back to run alone.
"""

import asyncio
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from neuron_runtime.admission import Permit
from neuron_runtime.batch_policy import Slot, Take, decide
from neuron_runtime.buckets import Form, Shape, cut_outputs, fitting_forms, forms_of, join_rows, variable_sizes
from neuron_runtime.errors import DeadlineExceededError, InferenceFailedError, NotReadyError
from neuron_runtime.metrics import BatchRecord, Metrics
from neuron_runtime.served_model import ServedModel
from neuron_runtime.tensors import Array

MOST_CRASHES = 2
"""A request that took two workers down is not given a third."""
_SMOOTHING = 0.1


class Room(Protocol):
    """A worker that can take a batch now."""

    @property
    def slot(self) -> Slot: ...

    def submit(self, batch: int, bucket: int, parts: int, arrays: Sequence[Array]) -> None: ...

    def set_exclusive(self, *, exclusive: bool) -> None: ...


class Workers(Protocol):
    """The pool, as the batcher sees it."""

    def next_room(self) -> Room | None:
        """An idle worker if there is one, else one with room behind a running call, else None."""

    def ready_count(self) -> int: ...


@dataclass(frozen=True)
class Answer:
    """Outputs in the model's order, all rows of the request; times in seconds."""

    outputs: list[Array]
    queue_seconds: float
    device_seconds: float


class Ticket:
    """One request in the queue and on the cores; the policy's `Waiting`."""

    def __init__(self, inputs: Sequence[Array], fits: int, permit: Permit, arrived_at: float) -> None:
        self.inputs = inputs
        self.rows = len(inputs[0])
        self.fits = fits
        self.permit = permit
        self.arrived_at = arrived_at
        self.future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.crashes = 0
        self.attempt = 0
        self._next_row = 0
        self._pieces: list[tuple[int, Sequence[Array]]] = []
        self._answered_rows = 0
        self._queue_seconds = 0.0
        self._device_seconds = 0.0

    @property
    def rows_waiting(self) -> int:
        return 0 if self.future.done() else self.rows - self._next_row

    @property
    def is_suspect(self) -> bool:
        return self.attempt > 0

    @property
    def row_shapes(self) -> list[Shape]:
        return [array.shape[1:] for array in self.inputs]

    def take(self, rows: int, now: float) -> "Part":
        if self._next_row == 0 and self.attempt == 0:
            self._queue_seconds = now - self.arrived_at
        part = Part(self, self._next_row, rows, self.attempt)
        self._next_row += rows
        self.permit.started(rows)
        return part

    def add(self, first_row: int, outputs: Sequence[Array], device_seconds: float) -> None:
        """The answer for the rows from `first_row` on; the last one completes the request."""
        self._pieces.append((first_row, outputs))
        self._answered_rows += len(outputs[0])
        self._device_seconds += device_seconds
        if self._answered_rows == self.rows:
            self.future.set_result(Answer(join_rows(self._pieces), self._queue_seconds, self._device_seconds))

    def start_over(self) -> None:
        """Back to the first row; pieces of the attempt so far no longer count."""
        self.permit.returned(self._next_row)
        self.attempt += 1
        self._next_row = 0
        self._pieces = []
        self._answered_rows = 0

    def expire(self) -> None:
        if not self.future.done():
            where = "while it waited in the queue" if self.rows_waiting else "while it was being computed"
            self.future.set_exception(DeadlineExceededError(f"the request's deadline passed {where}; nothing was lost"))

    def fail(self, message: str) -> None:
        if not self.future.done():
            self.future.set_exception(InferenceFailedError(message))


@dataclass(frozen=True)
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
    def arrays(self) -> list[Array]:
        stop = self.first_row + self.rows
        return [array[self.first_row : stop] for array in self.ticket.inputs]


@dataclass(frozen=True)
class Batch:
    bucket: int
    form: Form
    parts: tuple[Part, ...]
    room: Room
    is_suspect: bool

    @property
    def rows(self) -> int:
        return sum(part.rows for part in self.parts)


class Batcher:
    def __init__(self, model: ServedModel, workers: Workers, metrics: Metrics) -> None:
        self._model = model
        self._workers = workers
        self._metrics = metrics
        self._forms = forms_of(model.buckets)
        self._queue: deque[Ticket] = deque()
        self._running: dict[int, Batch] = {}
        self._next_batch = 0
        self._suspect_running = False
        self._pump_is_due = False
        self._batch_seconds_per_row = 0.001

    @property
    def running_batches(self) -> int:
        return len(self._running)

    def seconds_per_row(self) -> float:
        """What one more waiting row costs at the present pace of all workers; for Retry-After."""
        return self._batch_seconds_per_row / max(1, self._workers.ready_count())

    def fits(self, inputs: Sequence[Array]) -> int:
        """The forms that hold these rows, as bits; InvalidRequestError when none does."""
        return fitting_forms(self._forms, self._model.inputs, [array.shape[1:] for array in inputs])

    async def infer(self, inputs: Sequence[Array], permit: Permit, deadline: float) -> Answer:
        """The model's outputs for these rows. `deadline` is in the event loop's time. Canceling takes the rows out."""
        loop = asyncio.get_running_loop()
        ticket = Ticket(inputs, self.fits(inputs), permit, time.monotonic())
        self._queue.append(ticket)
        timer = loop.call_at(deadline, ticket.expire)
        self._pump_soon()
        try:
            return await ticket.future
        finally:
            timer.cancel()

    def on_room(self) -> None:
        """A worker became ready."""
        self._pump_soon()

    def on_result(self, batch_id: int, outputs: Sequence[Array], device_seconds: float) -> None:
        batch = self._finish(batch_id)
        row = 0
        for part in batch.parts:
            if part.is_wanted:
                sizes = variable_sizes(self._model.inputs, batch.form, part.ticket.row_shapes)
                cut = cut_outputs(outputs, (row, row + part.rows), self._model.outputs, sizes)
                part.ticket.add(part.first_row, cut, device_seconds)
            row += part.rows
        self._batch_seconds_per_row += _SMOOTHING * (device_seconds / batch.rows - self._batch_seconds_per_row)
        batch_size = self._model.buckets[batch.bucket].batch_size
        self._metrics.batch_done(BatchRecord(batch.bucket, batch.rows, batch_size - batch.rows, device_seconds))
        self._pump()

    def on_failed(self, batch_id: int, message: str) -> None:
        """The program raised, the worker lives. A lone request has failed; in company, each is tried again alone."""
        batch = self._finish(batch_id)
        tickets = _tickets(batch)
        for ticket in tickets:
            if batch.is_suspect or len(tickets) == 1:
                ticket.fail(f"the model failed on this request: {message}")
            else:
                self._retry_alone(ticket)
        self._pump_soon()

    def on_lost(self, batch_ids: Sequence[int], how: str) -> None:
        """The worker is gone with these batches. Each of their requests runs alone; a second loss is its failure."""
        for batch_id in batch_ids:
            for ticket in _tickets(self._finish(batch_id)):
                ticket.crashes += 1
                if ticket.crashes >= MOST_CRASHES:
                    ticket.fail(f"two workers were lost computing this request ({how})")
                else:
                    self._retry_alone(ticket)
        self._pump_soon()

    def refuse_all(self, error: NotReadyError) -> None:
        """Give every request that waits or runs this answer; there will be no other."""
        running = [part.ticket for batch in self._running.values() for part in batch.parts]
        for ticket in [*self._queue, *running]:
            if not ticket.future.done():
                ticket.future.set_exception(error)

    def _retry_alone(self, ticket: Ticket) -> None:
        if not ticket.future.done():
            ticket.start_over()
            self._queue.appendleft(ticket)
            self._metrics.retries.inc()

    def _finish(self, batch_id: int) -> Batch:
        batch = self._running.pop(batch_id)
        if batch.is_suspect:
            self._suspect_running = False
            batch.room.set_exclusive(exclusive=False)
        return batch

    def _pump_soon(self) -> None:
        # Once per turn of the loop: requests that arrived in the same turn then share a batch.
        if not self._pump_is_due:
            self._pump_is_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_is_due = False
        while True:
            while self._queue and self._queue[0].rows_waiting == 0:
                self._queue.popleft()
            room = self._workers.next_room() if self._queue else None
            if room is None:
                return
            choice = decide(self._queue, self._forms, room.slot, suspect_running=self._suspect_running)
            if not isinstance(choice, Take):
                return
            self._dispatch(room, choice)

    def _dispatch(self, room: Room, choice: Take[Ticket]) -> None:
        now = time.monotonic()
        is_suspect = choice.picks[0][0].is_suspect
        parts = tuple(ticket.take(rows, now) for ticket, rows in choice.picks)
        batch = Batch(choice.bucket, self._forms[choice.form], parts, room, is_suspect)
        if is_suspect:
            self._suspect_running = True
            room.set_exclusive(exclusive=True)
        self._next_batch += 1
        self._running[self._next_batch] = batch
        arrays = [array for part in parts for array in part.arrays]
        room.submit(self._next_batch, choice.bucket, len(parts), arrays)


def _tickets(batch: Batch) -> list[Ticket]:
    """The requests of a batch that still want an answer from it, each once."""
    return list(dict.fromkeys(part.ticket for part in batch.parts if part.is_wanted))
