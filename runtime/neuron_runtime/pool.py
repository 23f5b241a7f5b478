"""The workers, one per NeuronCore: starts them, replaces the lost ones, and tells the batcher who comes and goes.

`serving` starts and stops it, the batcher hands its workers batches, the health routes ask for
states. What happens after a worker has ended is decided in `supervision`; this module only carries it out.
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

_ENDS_WORKER = frozenset({nrt.Action.RETRY, nrt.Action.RESTART, nrt.Action.GIVE_UP, nrt.Action.EXIT})
"""RETRY too: the engine has retried, so a new process is what is left to try."""
STOP_SECONDS = 5.0
"""How long killed workers may take to be gone; a process inside a device driver can take for ever."""


class BatchOwner(Protocol):
    """The batcher, as the pool sees it."""

    def on_room(self, room: "WorkerProcess", bucket_seconds: Sequence[float]) -> None: ...

    def on_gone(self, room: "WorkerProcess") -> None: ...

    def on_result(self, batch_id: int, outputs: Sequence[Array], device_seconds: float) -> None: ...

    def on_failed(self, batch_id: int, message: str, action: str) -> None: ...

    def on_lost(self, batch_ids: Sequence[int], how: str) -> None: ...


@dataclass
class Core:
    """One NeuronCore (or one share of the CPU) through all the lives of its worker."""

    name: str
    environment: Mapping[str, str]
    worker: WorkerProcess | None = None
    history: History = field(default_factory=History)
    was_ready: bool = False
    is_given_up: bool = False

    @property
    def state(self) -> WorkerState:
        if self.is_given_up:
            return WorkerState.GIVEN_UP
        return self.worker.state if self.worker else WorkerState.STARTING


class Pool:
    def __init__(
        self,
        start: Start,
        environments: Mapping[str, Mapping[str, str]],
        deadlines: Deadlines,
        metrics: Metrics,
        degraded_exit_seconds: float = 0.0,
    ) -> None:
        """`degraded_exit_seconds`: how long to serve on after a core was given up; 0: as long as one is left."""
        self._start = start
        self._deadlines = deadlines
        self._metrics = metrics
        self._degraded_exit_seconds = degraded_exit_seconds
        self._degraded_exit: asyncio.TimerHandle | None = None
        self._cores = [Core(name, environment) for name, environment in environments.items()]
        self._tasks: list[asyncio.Task[None]] = []
        self._is_stopping = False
        self._owner: BatchOwner | None = None
        self.failed: asyncio.Future[FatalError] = asyncio.get_running_loop().create_future()
        """Set when the process is to end with this error. Workers that are ready go on until `stop`."""

    def start(self, owner: BatchOwner) -> None:
        """Start every worker; they become ready one by one."""
        self._owner = owner
        self._tasks = [asyncio.create_task(self._keep(core), name=f"core-{core.name}") for core in self._cores]
        for task in self._tasks:
            task.add_done_callback(self._on_task_end)

    async def stop(self) -> None:
        """End every worker. Batches still running are lost: the caller has waited for what it wanted to keep."""
        self._is_stopping = True
        if self._degraded_exit is not None:
            self._degraded_exit.cancel()
        workers = [core.worker for core in self._cores if core.worker is not None]
        for worker in workers:
            worker.kill("it is shutting down")
        # A core comes free when its process is gone: whoever starts next on this node may want it at once.
        ends = [asyncio.create_task(worker.ended.wait()) for worker in workers]
        if ends:
            await asyncio.wait(ends, timeout=STOP_SECONDS)
        for task in (*ends, *self._tasks):
            task.cancel()
        await asyncio.gather(*ends, *self._tasks, return_exceptions=True)

    def states(self) -> list[WorkerState]:
        return [core.state for core in self._cores]

    def ready_count(self) -> int:
        return sum(core.state is WorkerState.READY for core in self._cores)

    def usable_count(self) -> int:
        """Cores that are not given up, whether or not their worker is ready now."""
        return sum(not core.is_given_up for core in self._cores)

    def is_replacing(self) -> bool:
        """Whether a worker that was well is about to be there again, so that requests may wait for it: readiness, which
        is false meanwhile, reaches the clients seconds later. One that keeps ending is not waited for."""
        return not self.failed.done() and any(
            core.was_ready and not core.is_given_up and core.history.failures <= 1 for core in self._cores
        )

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
            was_any_ready=any(known.was_ready for known in self._cores),
            is_any_ready=self.ready_count() > 0,
            was_core_ready=core.was_ready,
            other_cores=len(others),
        )
        step = next_step(ending, core.history, around, asyncio.get_running_loop().time())
        match step:
            case Restart(after_seconds, history):
                core.history = history
                cause = "hung" if ending.hung else "error" if ending.killed_for else "ended"
                self._metrics.worker_restarts.labels(core.name, cause).inc()
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
        hint = "drain and replace this node"
        if not self.usable_count():
            self._fail(FatalError(Reason.HARDWARE_ERROR, f"every NeuronCore is broken; the last: {reason}", hint=hint))
        elif self._degraded_exit_seconds and self._degraded_exit is None:
            lost = f"NeuronCore {core.name} is broken: {reason}; this pod served on with fewer cores for a while"
            error = FatalError(Reason.HARDWARE_ERROR, lost, hint=hint)
            loop = asyncio.get_running_loop()
            self._degraded_exit = loop.call_later(self._degraded_exit_seconds, self._fail, error)

    def _on_task_end(self, task: asyncio.Task[None]) -> None:
        """A mistake in this program: a core without its keeper would stay lost in silence."""
        error = None if task.cancelled() else task.exception()
        if error is not None:
            log.error("core task failed", exc_info=error)
            hint = "see the container's log"
            self._fail(FatalError(Reason.MODEL_LOAD_FAILED, f"a worker cannot be kept: {error!r}", hint=hint))

    def _fail(self, error: FatalError) -> None:
        if not self.failed.done():
            if error.reason is Reason.COMPILER_VERSION_MISMATCH and self._start.compiled:
                error.message = f"{error.message}; model.json says that it was compiled {self._start.compiled}"
            self.failed.set_result(error)

    def on_state(self, worker: WorkerProcess, progress: Progress) -> None:
        core = self._core_of(worker)
        log.info("worker state", extra={"core": core.name, "state": progress.state, "seconds": progress.seconds})
        if progress.state == WorkerState.WARMING:
            self._metrics.load_seconds.labels(core.name).set(progress.seconds)
        if progress.state == WorkerState.READY:
            self._metrics.warm_seconds.labels(core.name).set(progress.seconds)
            core.was_ready = True
            if self._owner is not None:
                self._owner.on_room(worker, progress.bucket_seconds)

    def on_result(self, worker: WorkerProcess, result: Result, outputs: Sequence[Array]) -> None:
        if self._owner is not None:
            self._owner.on_result(result.batch, outputs, result.device_seconds)

    def on_failed(self, worker: WorkerProcess, failed: Failed) -> None:
        core = self._core_of(worker)
        log.warning("execution failed", extra={"core": core.name, "error": failed.message, "action": failed.action})
        if failed.action in _ENDS_WORKER:
            # First, because it calls on_gone: what the owner does with this batch must not go to the same worker.
            worker.kill(failed.message)
        if self._owner is not None:
            self._owner.on_failed(failed.batch, failed.message, failed.action)
        if failed.action == nrt.Action.GIVE_UP:
            self._give_up(core, failed.message)
        if failed.action == nrt.Action.EXIT:
            row = nrt.classify(failed.message)
            self._fail(FatalError(row.reason, f"the model failed on core {core.name}: {failed.message}", hint=row.hint))

    def on_gone(self, worker: WorkerProcess) -> None:
        if self._owner is not None:
            self._owner.on_gone(worker)

    def _core_of(self, worker: WorkerProcess) -> Core:
        return next(core for core in self._cores if core.worker is worker)
