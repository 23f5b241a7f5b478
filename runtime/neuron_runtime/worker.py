"""A worker process: loads the model on its one core, runs every bucket once, then answers batches until told to stop.

Started by `worker_process` as `python -m neuron_runtime.worker FD` with its own environment; FD is one end of a socket
pair, and its end of file ends the worker. Two or more threads take turns reading frames, so that padding and copies of
one batch overlap with the execution of another. It must not import the server.
"""

import gc
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Sequence

import numpy as np

from neuron_runtime import nrt
from neuron_runtime.attempts import attempt
from neuron_runtime.buckets import pad_batch
from neuron_runtime.engines import Engine, open_engine
from neuron_runtime.messages import (
    PREFIX_BYTES,
    Failed,
    Fatal,
    Frame,
    Message,
    Ping,
    Pong,
    Progress,
    Result,
    Run,
    Start,
    decode,
    encode,
    frame_lengths,
)
from neuron_runtime.tensors import DTYPES, Array
from neuron_runtime.termination import FatalError, Reason
from neuron_runtime.worker_traits import die_with, offer_to_the_oom_killer

_JOINED_BYTES = 1 << 16


class Channel:
    """This worker's end of the socket pair. Reading and writing are each for one thread at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reading = threading.Lock()
        self._writing = threading.Lock()
        self._received = bytearray()

    def read(self) -> Frame | None:
        """The next frame; None when the front process is gone."""
        with self._reading:
            prefix = self._exactly(PREFIX_BYTES)
            if prefix is None:
                return None
            header_bytes, payload_bytes = frame_lengths(prefix)
            header, payload = self._exactly(header_bytes), self._exactly(payload_bytes)
        return None if header is None or payload is None else decode(header, payload)

    def write(self, message: Message, arrays: Sequence[Array] = ()) -> None:
        buffers = encode(message, arrays)
        if sum(len(part) for part in buffers) < _JOINED_BYTES:
            buffers = [b"".join(buffers)]
        with self._writing:
            for part in buffers:
                self._connection.sendall(part)

    def _exactly(self, count: int) -> bytearray | None:
        # One system call usually brings a whole frame; what it brought too much is kept for the next.
        while len(self._received) < min(count, _JOINED_BYTES):
            more = self._connection.recv(_JOINED_BYTES)
            if not more:
                return None
            self._received += more
        if len(self._received) >= count:
            data = self._received[:count]
            del self._received[:count]
            return data
        return self._received_and(count)

    def _received_and(self, count: int) -> bytearray | None:
        """What is here already and the rest of `count` bytes, copied once."""
        data = bytearray(count)
        view = memoryview(data)
        view[: len(self._received)] = self._received
        view = view[len(self._received) :]
        self._received.clear()
        while view:
            received = self._connection.recv_into(view)
            if received == 0:
                return None
            view = view[received:]
        return data


class Worker:
    def __init__(self, channel: Channel, start: Start) -> None:
        self._channel = channel
        self._start = start
        self.doing = "loading the model"
        """What an error in `load` interrupted."""
        self._shapes = [[tuple(shape) for shape in program.shapes] for program in start.programs]
        self._timing = threading.Lock()
        self._core_free_at = 0.0

    def load(self) -> Engine:
        """Load, then two executions per bucket: the first is slow on a device, and no request may pay for it."""
        self._channel.write(Progress("loading"))
        began = time.monotonic()
        engine = open_engine(self._start)
        engine.load()
        self._channel.write(Progress("warming", seconds=time.monotonic() - began))
        began = time.monotonic()
        # Twice, for the first execution also sets things up, and the policy wants to know what a batch takes later on.
        times = [min(self._warm(engine, bucket) for _ in range(2)) for bucket in range(len(self._shapes))]
        self._channel.write(Progress("ready", seconds=time.monotonic() - began, bucket_seconds=times))
        return engine

    def _warm(self, engine: Engine, bucket: int) -> float:
        datatypes = self._start.input_datatypes
        self.doing = f"the first execution of {self._start.programs[bucket].file}"
        # Ones, not zeros: an attention mask of zeros makes NaN, which a device reports as an error.
        inputs = [
            np.ones(shape, dtype=DTYPES[datatype])
            for shape, datatype in zip(self._shapes[bucket], datatypes, strict=True)
        ]
        began = time.monotonic()
        outputs = engine.run(bucket, inputs)
        seconds = time.monotonic() - began
        self._check_rows(bucket, outputs)
        return seconds

    def _check_rows(self, bucket: int, outputs: Sequence[Array]) -> None:
        rows = self._shapes[bucket][0][0]
        for index, output in enumerate(outputs):
            if output.shape[:1] != (rows,):
                raise FatalError(
                    Reason.MODEL_LOAD_FAILED,
                    f"{self._start.programs[bucket].file}: output {index} has the shape {list(output.shape)} for a "
                    f"batch of {rows} rows",
                    hint="pack the bundle again from a program whose outputs have the batch as first dimension",
                )

    def answer(self, engine: Engine) -> None:
        """One thread's life: read a frame, do what it says, until the front process closes the channel."""
        while (frame := self._channel.read()) is not None:
            if isinstance(frame.message, Run):
                self._run(engine, frame.message, frame.arrays)
            elif isinstance(frame.message, Ping):
                self._channel.write(Pong())

    def _run(self, engine: Engine, run: Run, arrays: Sequence[Array]) -> None:
        width = len(self._start.input_datatypes)
        parts = [arrays[first : first + width] for first in range(0, len(arrays), width)]
        rows = sum(len(part[0]) for part in parts)
        batch = pad_batch(parts, self._shapes[run.bucket], self._start.pad_values)
        began = time.monotonic()
        outputs = attempt(lambda: engine.run(run.bucket, batch))
        seconds = self._core_seconds(began, time.monotonic())
        if isinstance(outputs, Exception):
            self._channel.write(Failed(run.batch, _first_line(outputs), nrt.classify(str(outputs)).action))
        else:
            self._channel.write(Result(run.batch, seconds), [output[:rows] for output in outputs])

    def _core_seconds(self, began: float, ended: float) -> float:
        """What the core spent on this call alone: it is serial, so not before the call ahead of it ended."""
        with self._timing:
            began = max(began, self._core_free_at)
            self._core_free_at = max(ended, self._core_free_at)
        return max(0.0, ended - began)


def fatal_of(error: Exception, doing: str) -> Fatal:
    """Why `doing` failed, as the front process will put it into the termination message."""
    if isinstance(error, FatalError):
        return Fatal(error.reason, error.message, error.hint, error.details)
    if isinstance(error, MemoryError):
        return Fatal(Reason.OUT_OF_MEMORY, "the host's memory is full", "raise the container's memory limit")
    row = nrt.classify(str(error))
    details = {"error": type(error).__name__} | ({"nrtStatus": row.name} if row is not nrt.UNKNOWN else {})
    return Fatal(row.reason, f"{doing} failed: {_first_line(error)}", row.hint, details)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) <= 1:
        return lines[0] if lines else type(error).__name__
    # TorchScript puts the cause last, below a traceback of the program.
    known = next((line for line in lines if nrt.classify(line) is not nrt.UNKNOWN), None)
    return (known or (lines[-1] if lines[0].startswith("The following operation failed") else lines[0]))[:500]


def end_process(failed: threading.ExceptHookArgs) -> None:
    """A thread that ended would leave its batch unanswered for ever; a process that ends is replaced."""
    traceback.print_exception(failed.exc_value)
    sys.stderr.flush()
    os._exit(1)


def main() -> int:
    # The front process ends its workers itself; a signal to the whole group must not take them away mid-drain.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    if not die_with(front=int(sys.argv[2])):
        return 1
    offer_to_the_oom_killer()
    threading.excepthook = end_process
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    frame = channel.read()
    if frame is None or not isinstance(frame.message, Start):
        return 1
    worker = Worker(channel, frame.message)
    engine = attempt(worker.load)
    if isinstance(engine, Exception):
        channel.write(fatal_of(engine, worker.doing))
        return 1
    gc.collect()
    gc.freeze()  # the library and the programs stay to the end; walking them would stop a batch
    threads = [
        threading.Thread(target=worker.answer, args=(engine,), name=f"call-{index}")
        for index in range(frame.message.in_flight)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    # Not sys.exit: an accelerator's library may hang in its exit handlers, and the core must come free now.
    os._exit(code)
