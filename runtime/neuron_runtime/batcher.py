"""The asyncio shell around `batch_policy` and `isolation`: keeps the queues, hands batches out, joins answers.

Called by the task endpoints (`infer`) and by the pool (`on_…`). It decides nothing about which rows run together; a
client that leaves takes only its own rows out, and a lost batch brings each of its requests back to run alone.
"""

import asyncio
import time
from collections import deque
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import Protocol

from neuron_runtime import nrt
from neuron_runtime.admission import Permit
from neuron_runtime.batch_policy import Buckets, Limits, Take, Wait, decide, decide_alone
from neuron_runtime.buckets import (
    Form,
    Shape,
    cut_outputs,
    cut_rows,
    fitting_forms,
    forms_of,
    stack_rows,
    variable_sizes,
)
from neuron_runtime.errors import InferenceFailedError, InvalidRequestError, NotReadyError, RefusedPayloadError
from neuron_runtime.isolation import MOST_CRASHES, Fleet, RefusedPayloads, fingerprint
from neuron_runtime.metrics import BatchRecord, Metrics
from neuron_runtime.rooms import Rooms, batches_per_worker
from neuron_runtime.served_model import ServedModel
from neuron_runtime.tensors import Array
from neuron_runtime.tickets import Answer, Part, Ticket

UNKNOWN_SERVICE_SECONDS = 0.001
MOST_KNOWN_FITS = 4096
TIMER_SECONDS = 0.001
"""uvloop's timers count whole milliseconds."""
_SMOOTHING = 0.1


class Room(Hashable, Protocol):
    """A worker that can take a batch."""

    def submit(self, batch: int, bucket: int, parts: int, arrays: Sequence[Array]) -> None: ...


class Workers(Protocol):
    """The pool, as the batcher sees it."""

    def ready_count(self) -> int: ...

    def usable_count(self) -> int:
        """Workers that are ready or will be."""


@dataclass(frozen=True)
class BatchLimits:
    """Calls a core holds at a time, the longest wait for company, and how long a deadly payload is refused."""

    in_flight: int = 2
    window_seconds: float = 0.0005
    refuse_payload_seconds: float = 300.0


@dataclass(slots=True)
class Batch:
    bucket: int
    form: Form
    parts: list[Part]
    rows: int
    room: Room
    sent_at: float
    is_suspect: bool = False


class Batcher:
    def __init__(self, model: ServedModel, workers: Workers, metrics: Metrics, limits: BatchLimits) -> None:
        self._model = model
        self._workers = workers
        self._metrics = metrics
        self._forms = forms_of(model.buckets)
        self._buckets = Buckets(self._forms, [0.0] * len(model.buckets))
        self._limits = Limits(limits.window_seconds)
        self._known_fits: dict[tuple[Shape, ...], int] = {}
        self._cuts_outputs = any(-1 in spec.shape[1:] for spec in model.outputs)
        self._rooms: Rooms[Room] = Rooms(batches_per_worker(limits.in_flight))
        self._refused = RefusedPayloads(limits.refuse_payload_seconds)
        self._queue: deque[Ticket] = deque()
        self._suspects: deque[Ticket] = deque()
        self._isolated: Room | None = None
        self._suspect_is_running = False
        self._running: dict[int, Batch] = {}
        self._next_batch = 0
        self._pump_is_due = False
        self._wake: asyncio.TimerHandle | None = None
        self._suspects_wake: asyncio.TimerHandle | None = None
        self._batch_seconds_per_row = UNKNOWN_SERVICE_SECONDS

    @property
    def running_batches(self) -> int:
        return len(self._running)

    @property
    def has_worker(self) -> bool:
        return len(self._rooms) > 0

    @property
    def refused_payloads(self) -> int:
        return len(self._refused)

    def seconds_per_row(self) -> float:
        """What one more waiting row costs at the present pace of all workers; for Retry-After."""
        return self._batch_seconds_per_row / max(1, len(self._rooms))

    def fits(self, inputs: Sequence[Array]) -> int:
        """The forms that hold these rows, as bits; InvalidRequestError when none does."""
        shapes = tuple([array.shape[1:] for array in inputs])
        fits = self._known_fits.get(shapes)
        if fits is None:
            fits = fitting_forms(self._forms, self._model.inputs, shapes)
            if len(self._known_fits) < MOST_KNOWN_FITS:
                self._known_fits[shapes] = fits
        return fits

    async def infer(self, inputs: Sequence[Array], permit: Permit, deadline: float) -> Answer:
        """The model's outputs for these rows. `deadline` is in monotonic seconds. Canceling takes the rows out."""
        now = time.monotonic()
        if self._refused:
            self._check_payload(inputs, now)
        ticket = Ticket(inputs, self.fits(inputs), permit, now, deadline)
        self._limits.arrived(now, ticket.rows)
        self._queue.append(ticket)
        timer = asyncio.get_running_loop().call_later(deadline - now, ticket.expire)
        self._pump_soon()
        try:
            return await ticket.future
        finally:
            timer.cancel()

    def _check_payload(self, inputs: Sequence[Array], now: float) -> None:
        left = self._refused.seconds_left(fingerprint(inputs), now)
        if left:
            raise RefusedPayloadError(
                f"this input took {MOST_CRASHES} workers down; exactly this one is refused for {left:.0f} s more"
            )

    def on_room(self, room: Room, bucket_seconds: Sequence[float]) -> None:
        """A worker became ready; one execution of every bucket took it `bucket_seconds`."""
        known = self._buckets.service_seconds
        self._buckets.service_seconds = [old or new for old, new in zip(known, bucket_seconds, strict=True)]
        self._rooms.add(room)
        self._pump_soon()

    def on_gone(self, room: Room) -> None:
        """The worker takes nothing more; `on_lost` will say which batches went with it."""
        self._rooms.remove(room)

    def on_result(self, batch_id: int, outputs: Sequence[Array], device_seconds: float) -> None:
        batch = self._finish(batch_id)
        batch_wait_seconds = max(0.0, time.monotonic() - batch.sent_at - device_seconds)
        row = 0
        for part in batch.parts:
            end = row + part.rows
            if part.is_wanted:
                cut = self._cut(batch, part, outputs, (row, end)) if self._cuts_outputs else cut_rows(outputs, row, end)
                part.ticket.add(part.first_row, cut, batch_wait_seconds, device_seconds)
            row = end
        self._learn(batch, device_seconds)
        self._metrics.batch_wait_seconds.observe(batch_wait_seconds)
        padding = self._model.buckets[batch.bucket].batch_size - batch.rows
        self._metrics.batch_done(BatchRecord(batch.bucket, batch.rows, padding, device_seconds))
        self._pump()

    def on_failed(self, batch_id: int, message: str, action: str) -> None:
        """The program raised. What is its input's fault is refused; the rest is tried once more, each request alone."""
        batch = self._finish(batch_id)
        tickets = _tickets(batch)
        for ticket in tickets:
            if action == nrt.Action.REFUSE and len(tickets) == 1:
                ticket.fail(InvalidRequestError(f"the model refuses this input: {message}"))
            elif ticket.attempt:
                ticket.fail(InferenceFailedError(f"the model failed on this request: {message}"))
            else:
                self._retry_alone(ticket)
        self._pump_soon()

    def on_lost(self, batch_ids: Sequence[int], how: str) -> None:
        """A worker is gone with these batches. Each of their requests runs alone; a second loss is its failure."""
        for batch_id in batch_ids:
            for ticket in _tickets(self._finish(batch_id)):
                ticket.crashes += 1
                if ticket.crashes >= MOST_CRASHES:
                    self._refused.add(fingerprint(ticket.inputs), time.monotonic())
                    ticket.fail(
                        InferenceFailedError(f"{MOST_CRASHES} workers were lost computing this request ({how})")
                    )
                else:
                    self._retry_alone(ticket)
        self._pump_soon()

    def refuse_all(self, error: NotReadyError) -> None:
        """Give every request that waits or runs this answer; there will be no other."""
        running = [part.ticket for batch in self._running.values() for part in batch.parts]
        for ticket in [*self._queue, *self._suspects, *running]:
            ticket.fail(error)

    def _cut(self, batch: Batch, part: Part, outputs: Sequence[Array], rows: tuple[int, int]) -> list[Array]:
        sizes = variable_sizes(self._model.inputs, batch.form, part.ticket.row_shapes)
        return cut_outputs(outputs, rows, self._model.outputs, sizes)

    def _learn(self, batch: Batch, device_seconds: float) -> None:
        known = self._buckets.service_seconds
        known[batch.bucket] += _SMOOTHING * (device_seconds - known[batch.bucket])
        self._batch_seconds_per_row += _SMOOTHING * (device_seconds / batch.rows - self._batch_seconds_per_row)

    def _retry_alone(self, ticket: Ticket) -> None:
        if not ticket.future.done():
            ticket.start_over()
            self._suspects.append(ticket)
            self._metrics.retries.inc()

    def _finish(self, batch_id: int) -> Batch:
        batch = self._running.pop(batch_id)
        self._rooms.finished(batch.room)
        if batch.is_suspect:
            self._suspect_is_running = False
            self._release()
        return batch

    def _pump_soon(self) -> None:
        # Once per turn of the loop: requests that arrived in the same turn then share a batch.
        if not self._pump_is_due:
            self._pump_is_due = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pump_is_due = False
        now = time.monotonic()
        if (self._suspects or self._isolated is not None) and not self._suspect_is_running:
            self._pump_suspects(now)
        queue = self._queue
        while queue:
            if not queue[0].rows_waiting:
                queue.popleft()
                continue
            choice = decide(queue, now, self._rooms, self._buckets, self._limits)
            if not isinstance(choice, Take):
                if isinstance(choice, Wait):
                    self._wake_at(choice.until, now)
                return
            room = self._rooms.least_busy()
            assert room is not None, "the policy takes only when there is room"
            self._send(room, choice, now)

    def _pump_suspects(self, now: float) -> None:
        """Hold one worker back as soon as a suspect may run, and give it the suspect when it has ended the rest."""
        while self._suspects and not self._suspects[0].rows_waiting:
            self._suspects.popleft()
        if not self._suspects:
            self._release()
            return
        fleet = Fleet(self._workers.ready_count(), self._workers.usable_count())
        if self._isolated is None or self._rooms.calls_of(self._isolated) is None:
            self._isolated = None
            room = self._rooms.least_busy_of_all()
            patience_ends = self._suspects[0].patience_ends
            if room is None or not fleet.may_run_suspect(now, patience_ends):
                self._wake_for_suspects(patience_ends - now)
                return
            self._rooms.hold(room)
            self._isolated = room
        if self._rooms.calls_of(self._isolated) == 0:
            choice = decide_alone(self._suspects[0], self._buckets)
            self._suspect_is_running = True
            self._send(self._isolated, choice, now, is_suspect=True)

    def _release(self) -> None:
        if self._isolated is not None:
            self._rooms.release(self._isolated)
            self._isolated = None

    def _send(self, room: Room, choice: Take[Ticket], now: float, *, is_suspect: bool = False) -> None:
        parts = [ticket.take(rows, now) for ticket, rows in choice.picks]
        rows = sum(part.rows for part in parts)
        batch = Batch(choice.bucket, self._forms[choice.form], parts, rows, room, now, is_suspect)
        self._next_batch += 1
        self._running[self._next_batch] = batch
        self._rooms.started(room)
        pieces = stack_rows([part.arrays for part in parts])
        room.submit(self._next_batch, choice.bucket, len(pieces), [array for piece in pieces for array in piece])

    def _wake_for_suspects(self, seconds: float) -> None:
        """Nothing else may happen until the first one's patience with a missing second worker ends."""
        if self._suspects_wake is not None:
            self._suspects_wake.cancel()
        # A little later: timers are rounded, and one that fires too early would be the last.
        if seconds > 0:
            self._suspects_wake = asyncio.get_running_loop().call_later(seconds + TIMER_SECONDS, self._pump)

    def _wake_at(self, until: float, now: float) -> None:
        if self._wake is not None:
            self._wake.cancel()
        self._wake = asyncio.get_running_loop().call_later(max(TIMER_SECONDS, until - now), self._pump)


def _tickets(batch: Batch) -> list[Ticket]:
    """The requests of a batch that still want an answer from it, each once."""
    return list(dict.fromkeys(part.ticket for part in batch.parts if part.is_wanted))
