"""The batcher against workers made of lists: who is answered, retried, failed or left alone."""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from neuron_runtime import nrt
from neuron_runtime.admission import Admission
from neuron_runtime.batcher import Batcher, BatchLimits
from neuron_runtime.engines.simulated import simulated_model
from neuron_runtime.errors import (
    DeadlineExceededError,
    InferenceFailedError,
    InvalidRequestError,
    NotReadyError,
    RefusedPayloadError,
)
from neuron_runtime.metrics import Metrics
from neuron_runtime.tensors import Array
from neuron_runtime.tickets import Answer


@dataclass(eq=False)
class FakeWorker:
    """Takes every batch and answers when the test says so."""

    batches: dict[int, Array] = field(default_factory=dict)
    given: asyncio.Event = field(default_factory=asyncio.Event)

    def submit(self, batch: int, bucket: int, parts: int, arrays: Sequence[Array]) -> None:
        self.batches[batch] = np.concatenate(arrays)
        self.given.set()


@dataclass
class Fleet:
    ready: int = 1
    usable: int = 1

    def ready_count(self) -> int:
        return self.ready

    def usable_count(self) -> int:
        return self.usable


class Scene:
    """A batcher with one worker of batch 4; `join` brings more."""

    def __init__(self, limits: BatchLimits | None = None) -> None:
        self.fleet = Fleet()
        self.metrics = Metrics(CollectorRegistry())
        self.batcher = Batcher(simulated_model(None, 4), self.fleet, self.metrics, limits or BatchLimits())
        self.admission = Admission(100, 100, lambda: 0.001)
        self.worker = self.join()

    def join(self) -> FakeWorker:
        worker = FakeWorker()
        self.batcher.on_room(worker, [0.001])
        return worker

    def ask(self, value: float, rows: int = 1, seconds: float = 5.0) -> asyncio.Task[Answer]:
        async def request() -> Answer:
            inputs = [np.full((rows, 16), value, dtype=np.float32)]
            with self.admission.admit(rows) as permit:
                return await self.batcher.infer(inputs, permit, time.monotonic() + seconds)

        return asyncio.create_task(request())

    async def settle(self) -> None:
        for _ in range(5):
            await asyncio.sleep(0)

    def running(self) -> list[list[float]]:
        return [rows[:, 0].tolist() for rows in self.worker.batches.values()]

    async def finish(self) -> None:
        """The oldest batch comes back: each row's first four values."""
        batch = next(iter(self.worker.batches))
        rows = self.worker.batches.pop(batch)
        self.batcher.on_result(batch, [rows[:, :4]], 0.001)
        await self.settle()

    async def lose(self) -> None:
        """The worker dies with all it has, and its replacement is ready at once."""
        lost = list(self.worker.batches)
        self.batcher.on_gone(self.worker)
        self.batcher.on_lost(lost, "killed")
        self.worker = self.join()
        await self.settle()


@pytest.fixture
async def scene() -> Scene:
    return Scene()


@pytest.mark.parametrize("in_flight", [1, 2])
async def test_a_busy_worker_is_given_the_next_batch_once_it_is_full(in_flight: int) -> None:
    scene = Scene(BatchLimits(in_flight))
    for value in (1, 2, 3, 4, 5):
        scene.ask(value)
        await scene.settle()
    assert scene.running() == [[1], [2, 3, 4, 5]]
    scene.ask(6)
    await scene.settle()
    assert len(scene.running()) == 2


async def test_requests_of_one_turn_share_a_batch_and_get_their_own_rows(scene: Scene) -> None:
    tasks = [scene.ask(value) for value in (1, 2, 3)]
    await scene.settle()
    assert scene.running() == [[1, 2, 3]]

    await scene.finish()

    assert [(await task).outputs[0][0, 0] for task in tasks] == [1, 2, 3]
    assert scene.admission.waiting_rows == 0


async def test_a_large_request_is_split_and_joined(scene: Scene) -> None:
    task = scene.ask(7, rows=6)
    await scene.settle()
    assert scene.running() == [[7] * 4]
    await scene.finish()
    await scene.finish()

    assert (await task).outputs[0].shape == (6, 4)


async def test_a_client_that_leaves_mid_batch_hurts_nobody(scene: Scene) -> None:
    stays, leaves = scene.ask(1), scene.ask(2)
    await scene.settle()
    leaves.cancel()
    await scene.settle()
    await scene.finish()

    assert (await stays).outputs[0][0, 0] == 1
    assert leaves.cancelled()
    assert scene.admission.waiting_rows == 0


async def test_a_client_that_leaves_the_queue_is_never_computed(scene: Scene) -> None:
    tasks = [scene.ask(value) for value in (1, 2)]
    await scene.settle()
    queued = scene.ask(3)
    await scene.settle()
    queued.cancel()
    await scene.settle()
    await scene.finish()

    assert scene.running() == []
    assert [(await task).outputs[0][0, 0] for task in tasks] == [1, 2]


async def test_a_queued_request_past_its_deadline_is_504_and_never_computed(scene: Scene) -> None:
    first = scene.ask(1)
    await scene.settle()
    late = scene.ask(2, seconds=0.01)
    with pytest.raises(DeadlineExceededError, match="while it waited in the queue"):
        await late
    await scene.finish()

    assert scene.running() == []
    assert (await first).outputs


async def test_requests_of_a_lost_batch_run_alone_one_after_the_other(scene: Scene) -> None:
    tasks = [scene.ask(value) for value in (1, 2)]
    await scene.settle()
    await scene.lose()
    seen = []
    while scene.worker.batches:
        seen += scene.running()
        assert len(scene.worker.batches) == 1, "nothing else may be given to a worker that may be taken down"
        await scene.finish()

    assert sorted(seen) == [[1], [2]]
    assert [(await task).outputs[0][0, 0] for task in tasks] == [1, 2]


async def test_a_second_loss_fails_that_request_only(scene: Scene) -> None:
    tasks = {value: scene.ask(value) for value in (1.0, 2.0)}
    await scene.settle()
    await scene.lose()
    (killer,) = scene.running()[0]
    await scene.lose()
    await scene.finish()

    with pytest.raises(InferenceFailedError, match="2 workers were lost"):
        await tasks.pop(killer)
    (survivor,) = tasks.values()
    assert (await survivor).outputs


async def test_a_program_error_in_company_is_tried_alone_and_alone_is_final(scene: Scene) -> None:
    tasks = [scene.ask(value) for value in (1, 2)]
    await scene.settle()
    batch = next(iter(scene.worker.batches))
    scene.worker.batches.clear()
    scene.batcher.on_failed(batch, "bad index", nrt.Action.RETRY)
    await scene.settle()
    alone = next(iter(scene.worker.batches))
    scene.worker.batches.clear()
    scene.batcher.on_failed(alone, "bad index", nrt.Action.RETRY)
    await scene.settle()
    await scene.finish()
    results = await asyncio.gather(*tasks, return_exceptions=True)

    assert sorted(type(result).__name__ for result in results) == ["Answer", "InferenceFailedError"]


async def test_refusing_all_answers_what_waits_and_what_runs(scene: Scene) -> None:
    running = scene.ask(1)
    await scene.settle()
    waiting = scene.ask(2)
    await scene.settle()
    scene.batcher.refuse_all(NotReadyError("gone"))

    results = await asyncio.gather(running, waiting, return_exceptions=True)
    assert [type(result) for result in results] == [NotReadyError, NotReadyError]
    assert scene.admission.waiting_rows == 0


async def test_an_input_the_device_refuses_is_the_clients_error_at_once(scene: Scene) -> None:
    task = scene.ask(1)
    await scene.settle()
    scene.batcher.on_failed(next(iter(scene.worker.batches)), "NRT_EXEC_OOB", nrt.Action.REFUSE)

    with pytest.raises(InvalidRequestError, match="refuses this input: NRT_EXEC_OOB"):
        await task


async def test_suspects_leave_the_other_worker_to_everybody_else(scene: Scene) -> None:
    scene.fleet.ready = scene.fleet.usable = 2
    other = scene.join()
    suspects = [scene.ask(value) for value in (1, 2)]
    await scene.settle()
    await scene.lose()
    # The suspect took the worker that has been idle longest.
    assert next(iter(other.batches.values()))[:, 0].tolist() == [1]

    rest = [scene.ask(value) for value in (3, 4, 5, 6)]
    await scene.settle()
    assert scene.running() == [[3, 4, 5, 6]]
    assert len(other.batches) == 1
    scene.worker, other = other, scene.worker
    await scene.finish()
    assert scene.running() == [[2]]

    await scene.finish()
    scene.worker = other
    await scene.finish()
    assert [(await task).outputs[0][0, 0] for task in (*suspects, *rest)] == [1, 2, 3, 4, 5, 6]


async def test_a_suspect_waits_for_the_second_worker_to_come_back(scene: Scene) -> None:
    scene.fleet.usable = 2
    task = scene.ask(1, seconds=60)
    await scene.settle()
    await scene.lose()
    assert scene.running() == [], "the only worker left is not put at risk"

    scene.fleet.ready = 2
    scene.join()
    await scene.settle()
    assert scene.running() == [[1]]
    await scene.finish()
    assert (await task).outputs


async def test_patience_with_a_missing_second_worker_ends_at_half_the_time(scene: Scene) -> None:
    scene.fleet.usable = 2
    task = scene.ask(1, seconds=4)
    await scene.settle()
    await scene.lose()
    await scene.worker.given.wait()
    await scene.finish()

    assert (await task).outputs


async def test_a_suspect_is_not_starved_by_full_batches(scene: Scene) -> None:
    suspect = scene.ask(9)
    await scene.settle()
    await scene.lose()
    await scene.finish()
    assert (await suspect).outputs

    crowd = [scene.ask(value) for value in range(40)]
    await scene.settle()
    lost = [scene.worker.batches.popitem()[0]]
    scene.batcher.on_lost(lost, "killed")  # a batch of it is lost while another runs and the queue is long
    await scene.settle()
    await scene.finish()
    assert [len(rows) for rows in scene.running()] == [1], "the worker was held back for the suspect"
    while scene.worker.batches:
        await scene.finish()
    assert len(await asyncio.gather(*crowd)) == 40


async def test_a_payload_that_took_two_workers_down_is_refused_and_others_are_not(scene: Scene) -> None:
    killer = scene.ask(666)
    await scene.settle()
    await scene.lose()
    await scene.lose()
    with pytest.raises(InferenceFailedError):
        await killer
    assert scene.batcher.refused_payloads == 1

    with pytest.raises(RefusedPayloadError, match="took 2 workers down"):
        await scene.ask(666)
    other = scene.ask(665)
    await scene.settle()
    await scene.finish()
    assert (await other).outputs


async def test_an_expired_request_of_a_lost_batch_is_not_retried(scene: Scene) -> None:
    task = scene.ask(1, seconds=0.5)
    await scene.settle()
    with pytest.raises(DeadlineExceededError, match="while it was being computed"):
        await task
    await scene.lose()

    assert scene.running() == []


async def test_a_lost_worker_is_given_nothing(scene: Scene) -> None:
    scene.batcher.on_gone(scene.worker)
    task = scene.ask(1)
    await scene.settle()
    assert scene.running() == []
    assert not scene.batcher.has_worker

    scene.worker = scene.join()
    await scene.settle()
    await scene.finish()
    assert (await task).outputs
