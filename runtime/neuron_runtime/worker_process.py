"""One life of one worker process, seen from the front: start it, talk to it, notice that it hangs, know how it ended.

`pool` starts a new life when one has ended. Alive means that it answers, not that it has a pid: every state has its own
deadline, because loading takes minutes and an execution milliseconds.
"""

import asyncio
import logging
import os
import socket
import subprocess
import sys
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, cast

import neuron_runtime
from neuron_runtime.batch_policy import Slot
from neuron_runtime.child_processes import kill
from neuron_runtime.health import WorkerState
from neuron_runtime.messages import Failed, Fatal, Frame, FrameReader, Ping, Pong, Progress, Result, Run, Start, encode
from neuron_runtime.supervision import Ending
from neuron_runtime.tensors import Array

log = logging.getLogger("neuron_runtime.worker")

WATCH_SECONDS = 0.25
LOG_LINES_KEPT = 40


@dataclass(frozen=True)
class Deadlines:
    """Longest time without progress in each state, in seconds."""

    starting: float = 60.0
    loading: float = 1800.0
    warming: float = 600.0
    executing: float = 60.0
    idle_ping: float = 5.0
    pong: float = 5.0


class Listener(Protocol):
    """Who hears what the worker says; `pool` implements it."""

    def on_state(self, worker: "WorkerProcess", progress: Progress) -> None: ...

    def on_result(self, worker: "WorkerProcess", result: Result, outputs: Sequence[Array]) -> None: ...

    def on_failed(self, worker: "WorkerProcess", failed: Failed) -> None: ...


class WorkerProcess(asyncio.Protocol):
    def __init__(self, start: Start, environment: Mapping[str, str], deadlines: Deadlines, listener: Listener) -> None:
        self._start = start
        self._environment = environment
        self._deadlines = deadlines
        self._listener = listener
        self._frames = FrameReader()
        self._transport: asyncio.Transport | None = None
        self._process: asyncio.subprocess.Process | None = None
        self._running: dict[int, None] = {}
        self._lines: deque[str] = deque(maxlen=LOG_LINES_KEPT)
        self._fatal: Fatal | None = None
        self._hung: str | None = None
        self._was_ready = False
        self._is_exclusive = False
        self._pinged = False
        self._progress_at = 0.0
        self.state = WorkerState.STARTING

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process else None

    @property
    def has_room(self) -> bool:
        return self.state is WorkerState.READY and not self._is_exclusive and len(self._running) < self._start.in_flight

    @property
    def slot(self) -> Slot:
        return Slot.PREFETCH if self._running else Slot.IDLE

    @property
    def running(self) -> tuple[int, ...]:
        """Ids of the batches it has been given and has not answered."""
        return tuple(self._running)

    def set_exclusive(self, *, exclusive: bool) -> None:
        """While exclusive it takes no further batch: the one it has may take it down."""
        self._is_exclusive = exclusive

    def submit(self, batch: int, bucket: int, parts: int, arrays: Sequence[Array]) -> None:
        assert self._transport is not None, "a batch was given to a worker that has not started"
        if not self._running:
            self._progress_at = asyncio.get_running_loop().time()
        self._running[batch] = None
        self._transport.writelines(encode(Run(batch, bucket, parts), arrays))

    async def live(self) -> Ending:
        """Start the process and stay with it until it has ended, for whatever reason."""
        ours, theirs = socket.socketpair()
        loop = asyncio.get_running_loop()
        self._progress_at = loop.time()
        with theirs:
            self._process = await asyncio.create_subprocess_exec(
                sys.executable,
                "-P",
                "-m",
                "neuron_runtime.worker",
                str(theirs.fileno()),
                pass_fds=[theirs.fileno()],
                env=_importable(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
            )
        watch = asyncio.create_task(self._watch())
        try:
            await loop.create_connection(lambda: self, sock=ours)
            await self._read_lines()
            code = await self._process.wait()
        finally:
            watch.cancel()
            self.kill()
            self.state = WorkerState.LOST
            if self._transport is not None:
                self._transport.close()
        return Ending(code, self._was_ready, self._fatal, self._hung, tuple(self._lines))

    def kill(self) -> None:
        """SIGKILL: a core comes free when its process is gone, and a hung one hears nothing else."""
        if self._process is not None:
            kill(self._process)

    def close(self) -> None:
        """Let it finish what it has and end."""
        if self._transport is not None:
            self._transport.write_eof()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's transports are not subclasses of it
        self._transport.writelines(encode(self._start))

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
            case Progress() as progress:
                self.state = WorkerState(progress.state)
                self._was_ready = self._was_ready or self.state is WorkerState.READY
                self._listener.on_state(self, progress)
            case Fatal() as fatal:
                self._fatal = fatal
            case Pong():
                pass
            case unexpected:
                raise AssertionError(f"a worker does not send {unexpected.kind}")

    async def _read_lines(self) -> None:
        """What the worker and the native runtime print, as our own log lines; the last ones explain a failed load."""
        assert self._process is not None, "the process was started"
        assert self._process.stdout is not None, "it was started with a pipe"
        while line := await self._process.stdout.readline():
            text = line.decode(errors="replace").rstrip()
            self._lines.append(text)
            log.info("worker output", extra={"workerPid": self.pid, "line": text[:1000]})

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_SECONDS)
            quiet = asyncio.get_running_loop().time() - self._progress_at
            if quiet > self._allowed():
                self._hung = "executing" if self._running else "idle" if self._was_ready else str(self.state)
                log.error("worker hangs", extra={"workerPid": self.pid, "state": self._hung, "quietSeconds": quiet})
                self.kill()
                return
            is_idle = self.state is WorkerState.READY and not self._running
            if is_idle and not self._pinged and quiet > self._deadlines.idle_ping and self._transport is not None:
                self._pinged = True
                self._transport.writelines(encode(Ping()))

    def _allowed(self) -> float:
        if self.state is WorkerState.READY:
            return self._deadlines.executing if self._running else self._deadlines.idle_ping + self._deadlines.pong
        return {
            WorkerState.STARTING: self._deadlines.starting,
            WorkerState.LOADING: self._deadlines.loading,
        }.get(self.state, self._deadlines.warming)


def _importable(environment: Mapping[str, str]) -> dict[str, str]:
    """The environment with this package's parent last on PYTHONPATH, so that the worker runs the same code as we do."""
    parent = str(Path(neuron_runtime.__file__).parent.parent)
    paths = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path]
    return {**environment, "PYTHONPATH": os.pathsep.join([*paths, parent])}
