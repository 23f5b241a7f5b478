"""The pool over real processes that do as the test says: who is replaced, given up, or ends the whole server."""

import asyncio
import dataclasses
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import numpy as np
import pytest
from prometheus_client import CollectorRegistry

from fake_workers import START, fake_worker
from neuron_runtime import nrt
from neuron_runtime.health import WorkerState
from neuron_runtime.metrics import Metrics
from neuron_runtime.pool import Pool
from neuron_runtime.tensors import Array
from neuron_runtime.termination import Reason
from neuron_runtime.worker_process import Deadlines, WorkerProcess

BROKEN = "Failed to execute the model status=1202 message=NRT_EXEC_HW_ERR_NC_UE"
ROW = [np.ones((1, 1), np.float32)]
FAILS = """
become_ready()
for message in heard():
    if isinstance(message, Run):
        say(Failed(message.batch, os.environ["MESSAGE"], os.environ["ACTION"]))
    elif isinstance(message, Ping):
        say(Pong())
"""


class Owner:
    """The batcher's place: it writes down what it hears and gives out batches when the test says so."""

    def __init__(self) -> None:
        self.rooms: list[WorkerProcess] = []
        self.heard: list[str] = []
        self._changed = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def on_room(self, room: WorkerProcess, bucket_seconds: Sequence[float]) -> None:
        self.rooms.append(room)
        self._hear("room")

    def on_gone(self, room: WorkerProcess) -> None:
        self._hear("gone")

    def on_result(self, batch_id: int, outputs: Sequence[Array], device_seconds: float) -> None:
        self._hear(f"result {batch_id}")

    def on_failed(self, batch_id: int, message: str, action: str) -> None:
        self._hear(f"failed {batch_id}")

    def on_lost(self, batch_ids: Sequence[int], how: str) -> None:
        self._hear(f"lost {list(batch_ids)}")

    async def until(self, condition: Callable[[], bool]) -> None:
        """Until it holds after something was heard."""
        async with self._changed:
            await self._changed.wait_for(condition)

    async def rooms_of(self, count: int) -> list[WorkerProcess]:
        await self.until(lambda: len(self.rooms) >= count)
        return self.rooms

    def _hear(self, what: str) -> None:
        self.heard.append(what)
        task = asyncio.get_running_loop().create_task(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@asynccontextmanager
async def pool_of(
    environments: Mapping[str, Mapping[str, str]], *, degraded_exit_seconds: float = 0.0, compiled: str = ""
) -> AsyncIterator[tuple[Pool, Owner]]:
    start = dataclasses.replace(START, compiled=compiled)
    pool = Pool(start, environments, Deadlines(), Metrics(CollectorRegistry()), degraded_exit_seconds)
    owner = Owner()
    pool.start(owner)
    try:
        yield pool, owner
    finally:
        await pool.stop()


def failing(folder: Path, action: str, message: str = BROKEN) -> dict[str, str]:
    return fake_worker(folder, FAILS) | {"ACTION": action, "MESSAGE": message}


async def test_a_lost_worker_is_replaced_and_counted_ready_again(tmp_path: Path) -> None:
    async with pool_of({"0": fake_worker(tmp_path, "become_ready(); stop()")}) as (pool, owner):
        first = (await owner.rooms_of(1))[0]
        assert pool.states() == [WorkerState.READY]
        first.kill()
        assert (pool.ready_count(), pool.usable_count()) == (0, 1)

        second = (await owner.rooms_of(2))[1]

        assert second.pid != first.pid
        assert pool.ready_count() == 1


async def test_a_model_that_crashes_after_each_warm_up_ends_the_server_and_says_so(tmp_path: Path) -> None:
    async with pool_of({"0": fake_worker(tmp_path, "become_ready(); os._exit(9)")}) as (pool, owner):
        error = await pool.failed

        assert error.reason is Reason.MODEL_LOAD_FAILED
        assert error.message == "the worker ended soon after it became ready (exit code 9)"
        assert len(owner.rooms) == 5


async def test_a_batch_in_hand_is_lost_with_its_worker_after_nothing_more_is_given_to_it(tmp_path: Path) -> None:
    script = "become_ready(); next(iter(heard())); os.abort()"
    async with pool_of({"0": fake_worker(tmp_path, script)}) as (_, owner):
        room = (await owner.rooms_of(1))[0]
        room.submit(4, 0, 1, ROW)
        await owner.until(lambda: "lost [4]" in owner.heard)

        assert owner.heard[:3] == ["room", "gone", "lost [4]"]


@pytest.mark.parametrize(
    ("action", "is_ended"),
    [
        (nrt.Action.FAIL, False),
        (nrt.Action.REFUSE, False),
        (nrt.Action.RETRY, True),
        (nrt.Action.RESTART, True),
        (nrt.Action.GIVE_UP, True),
        (nrt.Action.EXIT, True),
    ],
)
async def test_an_errors_action_says_whether_its_worker_goes_on(tmp_path: Path, action: str, is_ended: bool) -> None:
    environments = {"0": failing(tmp_path / "0", action), "1": failing(tmp_path / "1", action)}
    async with pool_of(environments) as (_, owner):
        room = (await owner.rooms_of(2))[0]
        room.submit(1, 0, 1, ROW)
        await owner.until(lambda: "failed 1" in owner.heard)

        assert (room.state is WorkerState.LOST) is is_ended
        # Whoever hears of the failure may hand the batch out again at once: never to this worker.
        before = owner.heard[: owner.heard.index("failed 1")]
        assert before == ["room", "room", *(["gone"] if is_ended else [])]


async def test_a_broken_core_is_given_up_and_its_worker_not_replaced(tmp_path: Path) -> None:
    environments = {"0": failing(tmp_path / "0", "give-up"), "1": failing(tmp_path / "1", "give-up")}
    async with pool_of(environments) as (pool, owner):
        room = (await owner.rooms_of(2))[0]
        room.submit(1, 0, 1, ROW)
        await room.ended.wait()
        await owner.until(lambda: "lost []" in owner.heard)

        assert sorted(pool.states()) == [WorkerState.GIVEN_UP, WorkerState.READY]
        assert (pool.ready_count(), pool.usable_count(), pool.failed.done()) == (1, 1, False)


async def test_with_its_last_core_the_server_is_given_up(tmp_path: Path) -> None:
    environments = {"0": failing(tmp_path / "0", "give-up"), "1": failing(tmp_path / "1", "give-up")}
    async with pool_of(environments) as (pool, owner):
        for batch, room in enumerate(list(await owner.rooms_of(2))):
            room.submit(batch, 0, 1, ROW)
        error = await pool.failed

        assert error.reason is Reason.HARDWARE_ERROR
        assert error.message == f"every NeuronCore is broken; the last: {BROKEN}"
        assert pool.usable_count() == 0


async def test_a_server_with_a_core_less_ends_after_the_time_that_is_set(tmp_path: Path) -> None:
    environments = {"0": failing(tmp_path / "0", "give-up"), "1": fake_worker(tmp_path / "1", "become_ready(); stop()")}
    async with pool_of(environments, degraded_exit_seconds=0.05) as (pool, owner):
        for room in list(await owner.rooms_of(2)):
            room.submit(1, 0, 1, ROW)  # the broken core is one of them
        error = await pool.failed

        assert error.reason is Reason.HARDWARE_ERROR
        assert error.message.startswith(f"NeuronCore 0 is broken: {BROKEN}")
        assert pool.ready_count() == 1  # what is in flight can still be answered


async def test_a_program_that_no_core_can_run_ends_the_server_naming_its_compiler(tmp_path: Path) -> None:
    told = "Could not load the model status=10 message=NRT_UNSUPPORTED_NEFF_VERSION"
    compiled = "for inf2 by neuronx-cc 2.26"
    async with pool_of({"0": failing(tmp_path, "exit", told)}, compiled=compiled) as (pool, owner):
        (await owner.rooms_of(1))[0].submit(1, 0, 1, ROW)
        error = await pool.failed

        assert error.reason is Reason.COMPILER_VERSION_MISMATCH
        assert told in error.message
        assert error.message.endswith("model.json says that it was compiled for inf2 by neuronx-cc 2.26")


def lives(pid: int | None) -> bool:
    return Path(f"/proc/{pid}").exists()


async def test_stop_returns_when_the_processes_are_gone(tmp_path: Path) -> None:
    environment = fake_worker(tmp_path, "become_ready(); stop()")
    async with pool_of({"0": environment, "1": environment}) as (pool, owner):
        pids = [room.pid for room in await owner.rooms_of(2)]
        await pool.stop()

        assert not any(map(lives, pids))


async def test_a_worker_that_hears_no_signal_holds_up_the_stop_for_a_while_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("neuron_runtime.pool.STOP_SECONDS", 0.05)
    monkeypatch.setattr("neuron_runtime.worker_process.kill", lambda process: None)
    async with pool_of({"0": fake_worker(tmp_path, "become_ready(); stop()")}) as (pool, owner):
        room = (await owner.rooms_of(1))[0]
        await pool.stop()

        assert not room.ended.is_set()
        monkeypatch.undo()
        assert room.pid is not None
        os.kill(room.pid, signal.SIGKILL)
