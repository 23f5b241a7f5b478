"""One life of one worker process, seen from the front: start it, talk to it, notice that it hangs, know how it ended.

`pool` starts a new life when one has ended. Alive means that it answers, not that it has a pid: every state has its own
deadline, because loading takes minutes and an execution milliseconds.
"""

import asyncio
import contextlib
import errno
import logging
import math
import os
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Protocol, cast

import neuron_runtime
from neuron_runtime.child_processes import kill
from neuron_runtime.health import WorkerState
from neuron_runtime.messages import Failed, Fatal, Frame, FrameReader, Ping, Pong, Progress, Result, Run, Start, encode
from neuron_runtime.rooms import batches_per_worker
from neuron_runtime.supervision import Ending
from neuron_runtime.tensors import Array
from neuron_runtime.termination import Reason
from neuron_runtime.worker_output import WorkerOutput

log = logging.getLogger("neuron_runtime.worker")

WATCH_SECONDS = 0.25
CLOSED_SECONDS = 2.0
"""How long a worker may take to end after it closed its channel."""


@dataclass(frozen=True)
class Deadlines:
    """Longest time without progress in each state, in seconds."""

    starting: float = 60.0
    loading: float = 1800.0
    warming: float = 600.0
    executing: float = 60.0
    """Between two results; one batch may take this long for each batch that a worker holds."""
    idle_ping: float = 5.0
    """A worker without batches is asked after this time…"""
    pong: float = 15.0
    """… and has this long to answer."""


class Listener(Protocol):
    """Who hears what the worker says; `pool` implements it."""

    def on_state(self, worker: "WorkerProcess", progress: Progress) -> None: ...

    def on_result(self, worker: "WorkerProcess", result: Result, outputs: Sequence[Array]) -> None: ...

    def on_failed(self, worker: "WorkerProcess", failed: Failed) -> None: ...

    def on_gone(self, worker: "WorkerProcess") -> None:
        """It takes no more batches. What it still has may yet be answered; it is lost when `live` returns."""


class WorkerProcess(asyncio.Protocol):
    def __init__(self, start: Start, environment: Mapping[str, str], deadlines: Deadlines, listener: Listener) -> None:
        self._start = start
        self._environment = environment
        self._deadlines = deadlines
        self._listener = listener
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._running: dict[int, float] = {}  # when each was given; the oldest is first
        self._output = WorkerOutput()
        self._fatal: Fatal | None = None
        self._hung: str | None = None
        self._killed_for: str | None = None
        self._ready_at: float | None = None
        self._pinged = False
        self._progress_at = 0.0
        self._closing: asyncio.TimerHandle | None = None
        self.state = WorkerState.STARTING
        self.ended = asyncio.Event()
        """Set when the process is gone."""

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def running(self) -> tuple[int, ...]:
        """Ids of the batches it has been given and has not answered."""
        return tuple(self._running)

    def submit(self, batch: int, bucket: int, parts: int, arrays: Sequence[Array]) -> None:
        assert self._transport is not None, "a batch was given to a worker that has not started"
        now = asyncio.get_running_loop().time()
        if not self._running:
            self._progress_at = now
        self._running[batch] = now
        self._transport.writelines(encode(Run(batch, bucket, parts), arrays))

    async def live(self) -> Ending:
        """Start the process and stay with it until it has ended, for whatever reason."""
        loop = asyncio.get_running_loop()
        self._progress_at = loop.time()
        try:
            channel, printed = await self._spawn()
        except OSError as error:
            self.kill()
            self.ended.set()
            return Ending(exit_code=1, fatal=_not_started(error))
        watch = asyncio.create_task(self._watch())
        try:
            await loop.connect_read_pipe(lambda: self._output, printed)
            await loop.create_connection(lambda: self, sock=channel)
            assert self._process is not None, "it was started"
            code = await self._process.wait()
            self.ended.set()
            await self._output.read_rest()
        finally:
            watch.cancel()
            self.kill()
            self._close()
        return Ending(
            code,
            self._fatal,
            hung=self._hung,
            killed_for=self._killed_for,
            ready_seconds=None if self._ready_at is None else loop.time() - self._ready_at,
            was_running=bool(self._running),
            last_lines=self._output.lines,
        )

    async def _spawn(self) -> tuple[socket.socket, BinaryIO]:
        """Start the process; our ends of its channel and of what it prints. Its standard output is a pipe of our own,
        because a subprocess.PIPE lives as long as any process that inherited it."""
        with contextlib.ExitStack() as theirs, contextlib.ExitStack() as ours:
            channels = socket.socketpair()
            channel, its_channel = ours.enter_context(channels[0]), theirs.enter_context(channels[1])
            pipe = os.pipe()
            theirs.callback(os.close, pipe[1])
            printed = ours.enter_context(os.fdopen(pipe[0], "rb", buffering=0))
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-X",
                "faulthandler",
                "-m",
                "neuron_runtime.worker",
                str(its_channel.fileno()),
                str(os.getpid()),
                pass_fds=[its_channel.fileno()],
                env=_importable(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=pipe[1],
                stderr=subprocess.STDOUT,
            )
            ours.pop_all()
        self._output.pid = self._process.pid
        if self.state is WorkerState.LOST:
            kill(self._process)  # it was told to go while it was being started
        return channel, printed

    def _close(self) -> None:
        self._output.close()
        if self._closing is not None:
            self._closing.cancel()
        if self._transport is not None:
            self._transport.close()

    def kill(self, why: str | None = None) -> None:
        """SIGKILL: a core comes free when its process is gone, and a hung one hears nothing else."""
        if self._killed_for is None:
            self._killed_for = why
        if self._process is not None:
            kill(self._process)
        self._take_no_more()

    def _take_no_more(self) -> None:
        if self.state is not WorkerState.LOST:
            self.state = WorkerState.LOST
            self._listener.on_gone(self)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are not subclasses of it
        self._transport.writelines(encode(self._start))

    def connection_lost(self, exc: Exception | None) -> None:
        """A worker that closed its channel is ending, or has lost its mind: either way nothing more comes from it."""
        self._take_no_more()
        if not self.ended.is_set():
            why = "it closed its channel and went on running"
            self._closing = asyncio.get_running_loop().call_later(CLOSED_SECONDS, self.kill, why)

    def data_received(self, data: bytes) -> None:
        for frame in self._frames.feed(data):
            self._progress_at = asyncio.get_running_loop().time()
            self._pinged = False
            self._hear(frame)

    def _hear(self, frame: Frame) -> None:
        match frame.message:
            case Result() as result:
                del self._running[result.batch]
                self._listener.on_result(self, result, frame.arrays)
            case Failed() as failed:
                del self._running[failed.batch]
                self._listener.on_failed(self, failed)
            case Progress() as progress if self.state is not WorkerState.LOST:
                self.state = WorkerState(progress.state)
                if self.state is WorkerState.READY:
                    self._ready_at = self._progress_at
                self._listener.on_state(self, progress)
            case Fatal() as fatal:
                self._fatal = fatal
            case Pong() | Progress():
                pass
            case unexpected:
                raise AssertionError(f"a worker does not send {unexpected.kind}")

    async def _watch(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            slept_at = loop.time()
            await asyncio.sleep(WATCH_SECONDS)
            now = loop.time()
            self._forgive(now - slept_at - WATCH_SECONDS)
            quiet = now - self._progress_at
            if quiet > self._allowed() or self._is_overtaken(now):
                self._hung = self._hung_state()
                log.error("worker hangs", extra={"workerPid": self.pid, "state": self._hung, "quietSeconds": quiet})
                self.kill()
                return
            is_idle = self.state is WorkerState.READY and not self._running
            if is_idle and not self._pinged and quiet > self._deadlines.idle_ping and self._transport is not None:
                self._pinged = True
                self._transport.writelines(encode(Ping()))

    def _forgive(self, late_seconds: float) -> None:
        """While this process itself stood still (a paused machine), it could not have heard the worker."""
        if late_seconds > WATCH_SECONDS:
            self._progress_at += late_seconds
            self._running = {batch: given_at + late_seconds for batch, given_at in self._running.items()}

    def _is_overtaken(self, now: float) -> bool:
        """Its oldest batch hangs while another thread goes on answering."""
        longest = self._deadlines.executing * batches_per_worker(self._start.in_flight)
        return bool(self._running) and now - next(iter(self._running.values())) > longest

    def _hung_state(self) -> str:
        if self.state is WorkerState.READY:
            return "executing" if self._running else "idle"
        return str(self.state)

    def _allowed(self) -> float:
        match self.state:
            case WorkerState.READY if self._running:
                return self._deadlines.executing
            case WorkerState.READY:
                return self._deadlines.idle_ping + self._deadlines.pong
            case WorkerState.STARTING:
                return self._deadlines.starting
            case WorkerState.LOADING:
                return self._deadlines.loading
            case WorkerState.WARMING:
                return self._deadlines.warming
            case _:
                return math.inf  # killed, or ending by itself


def _not_started(error: OSError) -> Fatal:
    return Fatal(
        Reason.OUT_OF_MEMORY if error.errno == errno.ENOMEM else Reason.MODEL_LOAD_FAILED,
        f"a worker process cannot be started: {error.strerror or error}",
        "see the pod's limits for memory, processes and open files",
    )


def _importable(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with this package's parent last on PYTHONPATH, so that the worker runs the same code as we do."""
    parent = str(Path(neuron_runtime.__file__).parent.parent)
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**environment, "PYTHONPATH": os.pathsep.join([*paths, parent])}
