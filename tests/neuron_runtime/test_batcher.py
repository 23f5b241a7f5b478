"""The batcher against workers made of lists: who is answered, retried, failed or left alone."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from neuron_runtime.admission import Admission
from neuron_runtime.batch_policy import Slot
from neuron_runtime.batcher import Answer, Batcher
from neuron_runtime.engines.simulated import simulated_model
from neuron_runtime.errors import DeadlineExceededError, InferenceFailedError, NotReadyError
from neuron_runtime.metrics import Metrics
from neuron_runtime.tensors import Array


@dataclass
class FakeWorker:
    """Takes every batch and answers when the test says so."""

    batches: dict[int, Array] = field(default_factory=dict)
    is_exclusive: bool = False

    @property
    def slot(self) -> Slot:
        return Slot.PREFETCH if self.batches else Slot.IDLE

    def submit(self, batch: int, bucket: int, parts: int, arrays: Sequence[Array]) -> None:
        self.batches[batch] = np.concatenate(arrays)

    def set_exclusive(self, *, exclusive: bool) -> None:
        self.is_exclusive = exclusive


@dataclass
class FakeWorkers:
    worker: FakeWorker = field(default_factory=FakeWorker)

    def next_room(self) -> FakeWorker | None:
        return self.worker if len(self.worker.batches) < 2 and not self.worker.is_exclusive else None

    def ready_count(self) -> int:
        return 1


class Scene:
    """A batcher with one worker of batch 4."""

    def __init__(self) -> None:
        self.worker = FakeWorker()
        self.metrics = Metrics(CollectorRegistry())
        self.batcher = Batcher(simulated_model(None, 4), FakeWorkers(self.worker), self.metrics)
        self.admission = Admission(100, 100, lambda: 0.001)

    def ask(self, value: float, rows: int = 1, seconds: float = 5.0) -> asyncio.Task[Answer]:
        async def request() -> Answer:
            inputs = [np.full((rows, 16), value, dtype=np.float32)]
            with self.admission.admit(rows) as permit:
                deadline = asyncio.get_running_loop().time() + seconds
                return await self.batcher.infer(inputs, permit, deadline)

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
        lost = list(self.worker.batches)
        self.worker.batches.clear()
        self.batcher.on_lost(lost, "killed")
        await self.settle()


@pytest.fixture
async def scene() -> Scene:
    return Scene()


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
        assert scene.worker.is_exclusive, "nothing else may be given to a worker that may be taken down"
        await scene.finish()

    assert sorted(seen) == [[1], [2]]
    assert [(await task).outputs[0][0, 0] for task in tasks] == [1, 2]
    assert not scene.worker.is_exclusive


async def test_a_second_loss_fails_that_request_only(scene: Scene) -> None:
    tasks = {value: scene.ask(value) for value in (1.0, 2.0)}
    await scene.settle()
    await scene.lose()
    (killer,) = scene.running()[0]
    await scene.lose()
    await scene.finish()

    with pytest.raises(InferenceFailedError, match="two workers were lost"):
        await tasks.pop(killer)
    (survivor,) = tasks.values()
    assert (await survivor).outputs


async def test_a_program_error_in_company_is_tried_alone_and_alone_is_final(scene: Scene) -> None:
    tasks = [scene.ask(value) for value in (1, 2)]
    await scene.settle()
    batch = next(iter(scene.worker.batches))
    scene.worker.batches.clear()
    scene.batcher.on_failed(batch, "bad index")
    await scene.settle()
    alone = next(iter(scene.worker.batches))
    scene.worker.batches.clear()
    scene.batcher.on_failed(alone, "bad index")
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
