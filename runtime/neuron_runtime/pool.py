"""The workers, one per NeuronCore: starts them, replaces the lost ones, and tells the batcher who has room.

`serving` starts and stops it, the batcher asks it for room, the health routes for states. What happens after a worker
has ended is decided in `supervision`; this module only carries it out.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from neuron_runtime import nrt
from neuron_runtime.health import WorkerState
from neuron_runtime.messages import Failed, Progress, Result, Start
from neuron_runtime.metrics import Metrics
from neuron_runtime.supervision import Ending, Exit, GiveUp, History, Restart, Surroundings, next_step
from neuron_runtime.tensors import Array
from neuron_runtime.termination import FatalError, Reason
from neuron_runtime.worker_process import Deadlines, WorkerProcess

log = logging.getLogger("neuron_runtime.pool")


class BatchOwner(Protocol):
    """The batcher, as the pool sees it."""

    def on_room(self) -> None: ...

    def on_result(self, batch_id: int, outputs: Sequence[Array], device_seconds: float) -> None: ...

    def on_failed(self, batch_id: int, message: str) -> None: ...

    def on_lost(self, batch_ids: Sequence[int], how: str) -> None: ...


@dataclass
class Core:
    """One NeuronCore (or one share of the CPU) through all the lives of its worker."""

    name: str
    environment: Mapping[str, str]
    worker: WorkerProcess | None = None
    history: History = field(default_factory=History)
    is_given_up: bool = False

    @property
    def state(self) -> WorkerState:
        if self.is_given_up:
            return WorkerState.GIVEN_UP
        return self.worker.state if self.worker else WorkerState.STARTING


class Pool:
    def __init__(
        self, start: Start, environments: Mapping[str, Mapping[str, str]], deadlines: Deadlines, metrics: Metrics
    ) -> None:
        self._start = start
        self._deadlines = deadlines
        self._metrics = metrics
        self._cores = [Core(name, environment) for name, environment in environments.items()]
        self._tasks: list[asyncio.Task[None]] = []
        self._was_any_ready = False
        self._is_stopping = False
        self._owner: BatchOwner | None = None
        self._turn = 0
        self.failed: asyncio.Future[FatalError] = asyncio.get_running_loop().create_future()
        """Set when the process cannot go on; whoever waits ends it with this error."""

    def start(self, owner: BatchOwner) -> None:
        """Start every worker; they become ready one by one."""
        self._owner = owner
        self._tasks = [asyncio.create_task(self._keep(core), name=f"core-{core.name}") for core in self._cores]
        for task in self._tasks:
            task.add_done_callback(self._on_task_end)

    async def stop(self) -> None:
        """End every worker. Batches still running are lost: the caller has waited for what it wanted to keep."""
        self._is_stopping = True
        for core in self._cores:
            if core.worker is not None:
                core.worker.kill()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def states(self) -> list[WorkerState]:
        return [core.state for core in self._cores]

    def ready_count(self) -> int:
        return sum(core.state is WorkerState.READY for core in self._cores)

    def usable_count(self) -> int:
        """Cores that are not given up, whether or not their worker is ready now."""
        return sum(not core.is_given_up for core in self._cores)

    def next_room(self) -> WorkerProcess | None:
        """The least busy worker with room; among equals they take turns."""
        best: WorkerProcess | None = None
        count = len(self._cores)
        for offset in range(count):
            worker = self._cores[(self._turn + offset) % count].worker
            if worker is None or not worker.has_room:
                continue
            if best is None or len(worker.running) < len(best.running):
                best = worker
            if not worker.running:
                break
        self._turn = (self._turn + 1) % count
        return best

    async def _keep(self, core: Core) -> None:
        while not self._is_stopping:
            core.worker = WorkerProcess(self._start, core.environment, self._deadlines, self)
            ending = await core.worker.live()
            if self._is_stopping:
                return
            if not await self._after(core, ending):
                return

    async def _after(self, core: Core, ending: Ending) -> bool:
        """Carry out what `supervision` decides; whether there will be another life."""
        assert core.worker is not None, "a life ended before it began"
        assert self._owner is not None, "a worker ran before the pool was started"
        log.warning("worker ended", extra={"core": core.name, "how": ending.how, "wasReady": ending.was_ready})
        self._owner.on_lost(core.worker.running, ending.how)
        if core.is_given_up:
            return False
        others = [other for other in self._cores if other is not core and not other.is_given_up]
        around = Surroundings(
            was_any_ready=self._was_any_ready,
            is_any_ready=self.ready_count() > 0,
            other_cores=len(others),
        )
        step = next_step(ending, core.history, around, asyncio.get_running_loop().time())
        match step:
            case Restart(after_seconds, history):
                core.history = history
                self._metrics.worker_restarts.labels(core.name, "hung" if ending.hung else "ended").inc()
                await asyncio.sleep(after_seconds)
                return True
            case GiveUp(reason):
                self._give_up(core, reason)
            case Exit(error):
                self._fail(error)
        return False

    def _give_up(self, core: Core, reason: str) -> None:
        log.error("core given up", extra={"core": core.name, "reason": reason})
        core.is_given_up = True
        if all(other.is_given_up for other in self._cores):
            hint = "drain and replace this node"
            self._fail(FatalError(Reason.HARDWARE_ERROR, f"every NeuronCore is broken; the last: {reason}", hint=hint))

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        """A worker that cannot even be started (no memory for a process, no free descriptor) ends the process."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("core task failed", exc_info=error)
            hint = "see the container's log, and the pod's limits for processes and memory"
            self._fail(FatalError(Reason.MODEL_LOAD_FAILED, f"a worker cannot be started: {error}", hint=hint))

    def _fail(self, error: FatalError) -> None:
        if not self.failed.done():
            self.failed.set_result(error)

    def on_state(self, worker: WorkerProcess, progress: Progress) -> None:
        core = self._core_of(worker)
        log.info("worker state", extra={"core": core.name, "state": progress.state, "seconds": progress.seconds})
        if progress.state == WorkerState.WARMING:
            self._metrics.load_seconds.labels(core.name).set(progress.seconds)
        if progress.state == WorkerState.READY:
            self._metrics.warm_seconds.labels(core.name).set(progress.seconds)
            self._was_any_ready = True
            core.history = History()
            if self._owner is not None:
                self._owner.on_room()

    def on_result(self, worker: WorkerProcess, result: Result, outputs: Sequence[Array]) -> None:
        if self._owner is not None:
            self._owner.on_result(result.batch, outputs, result.device_seconds)

    def on_failed(self, worker: WorkerProcess, failed: Failed) -> None:
        core = self._core_of(worker)
        log.warning("execution failed", extra={"core": core.name, "error": failed.message, "action": failed.action})
        if self._owner is not None:
            self._owner.on_failed(failed.batch, failed.message)
        if failed.action == nrt.Action.GIVE_UP:
            self._give_up(core, failed.message)
        if failed.action in (nrt.Action.GIVE_UP, nrt.Action.RESTART):
            worker.kill()

    def _core_of(self, worker: WorkerProcess) -> Core:
        return next(core for core in self._cores if core.worker is worker)
