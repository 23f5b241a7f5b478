"""Workers that do one thing wrong, for the tests of who watches them: real processes, started as the real one is.

A fake stands before the real `neuron_runtime.worker` on PYTHONPATH; the rest of the package is the real one.
"""

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path

import neuron_runtime
from neuron_runtime.messages import Failed, Program, Progress, Result, Start
from neuron_runtime.tensors import Array
from neuron_runtime.worker_process import WorkerProcess

START = Start("simulated", "", ["FP32"], ["FP32"], [Program("b1.pt", [[1, 1]])], [0], 2)

_PREAMBLE = """
import os, signal, socket, subprocess, sys, threading
from neuron_runtime.messages import *

channel = socket.socket(fileno=int(sys.argv[1]))

def say(message):
    channel.sendall(b"".join(encode(message)))

def heard():
    reader = FrameReader()
    while data := channel.recv(65536):
        for frame in reader.feed(data):
            yield frame.message

def stop():
    threading.Event().wait()

def become_ready():
    for state in ("loading", "warming", "ready"):
        say(Progress(state, bucket_seconds=(0.001,)))

"""


def fake_worker(folder: Path, script: str) -> dict[str, str]:
    """The environment in which `neuron_runtime.worker` is `script`."""
    package = folder / "neuron_runtime"
    package.mkdir(parents=True)
    real = str(Path(neuron_runtime.__file__).parent)
    (package / "__init__.py").write_text(f"__path__.append({real!r})\n__version__ = ''\n")
    (package / "worker.py").write_text(_PREAMBLE + script)
    return {"PATH": os.environ["PATH"], "PYTHONPATH": str(folder)}


class Recorder:
    """A listener that remembers what it was told."""

    def __init__(self) -> None:
        self.states: list[str] = []
        self.results: list[int] = []
        self.failures: list[Failed] = []
        self.gone = 0
        self._heard = asyncio.Condition()
        self._tasks: set[asyncio.Task[None]] = set()

    def on_state(self, worker: WorkerProcess, progress: Progress) -> None:
        self.states.append(progress.state)
        self._changed()

    def on_result(self, worker: WorkerProcess, result: Result, outputs: Sequence[Array]) -> None:
        self.results.append(result.batch)
        self._changed()

    def on_failed(self, worker: WorkerProcess, failed: Failed) -> None:
        self.failures.append(failed)
        self._changed()

    def on_gone(self, worker: WorkerProcess) -> None:
        self.gone += 1
        self._changed()

    async def until_state(self, state: str) -> None:
        async with self._heard:
            await self._heard.wait_for(lambda: state in self.states)

    async def until_result(self, batch: int) -> None:
        async with self._heard:
            await self._heard.wait_for(lambda: batch in self.results)

    async def until_gone(self) -> None:
        async with self._heard:
            await self._heard.wait_for(lambda: self.gone > 0)

    def _changed(self) -> None:
        task = asyncio.get_running_loop().create_task(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify(self) -> None:
        async with self._heard:
            self._heard.notify_all()
