"""A worker process: loads the model on its one core, runs every bucket once, then answers batches until told to stop.

Started by `worker_process` as `python -m neuron_runtime.worker FD` with its own environment; FD is one end of a socket
pair, and its end of file ends the worker. Two or more threads take turns reading frames, so that padding and copies of
one batch overlap with the execution of another. It must not import the server.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np

from neuron_runtime import nrt
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

T = TypeVar("T")
_JOINED_BYTES = 1 << 16


class Channel:
    """This worker's end of the socket pair. Reading and writing are each for one thread at a time."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._reading = threading.Lock()
        self._writing = threading.Lock()

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
        data = bytearray(count)
        view = memoryview(data)
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
        self._shapes = [[tuple(shape) for shape in program.shapes] for program in start.programs]

    def load(self) -> Engine:
        """Load, then one execution per bucket: the first is slow on a device, and no request may pay for it."""
        self._channel.write(Progress("loading"))
        began = time.monotonic()
        engine = open_engine(self._start)
        engine.load()
        self._channel.write(Progress("warming", seconds=time.monotonic() - began))
        began = time.monotonic()
        times = [self._warm(engine, bucket) for bucket in range(len(self._shapes))]
        self._channel.write(Progress("ready", seconds=time.monotonic() - began, bucket_seconds=times))
        return engine

    def _warm(self, engine: Engine, bucket: int) -> float:
        datatypes = self._start.input_datatypes
        # Ones, not zeros: an attention mask of zeros makes NaN, which a device reports as an error.
        inputs = [
            np.ones(shape, dtype=DTYPES[datatype])
            for shape, datatype in zip(self._shapes[bucket], datatypes, strict=True)
        ]
        began = time.monotonic()
        engine.run(bucket, inputs)
        return time.monotonic() - began

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
        seconds = time.monotonic() - began
        if isinstance(outputs, Exception):
            self._channel.write(Failed(run.batch, _first_line(outputs), nrt.classify(str(outputs)).action))
        else:
            self._channel.write(Result(run.batch, seconds), [output[:rows] for output in outputs])


def attempt(call: Callable[[], T]) -> T | Exception:
    """What the call returns or raises. A program may raise anything, and that fails its batch, not the worker."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - the worker's edge: everything a program raises is told to the front
        return error


def fatal_of(error: Exception) -> Fatal:
    """Why loading failed, as the front process will put it into the termination message."""
    if isinstance(error, FatalError):
        return Fatal(error.reason, error.message, error.hint, error.details)
    if isinstance(error, MemoryError):
        return Fatal(Reason.OUT_OF_MEMORY, "the host's memory is full", "raise the container's memory limit")
    row = nrt.classify(str(error))
    details = {"error": type(error).__name__} | ({"nrtStatus": row.name} if row is not nrt.UNKNOWN else {})
    return Fatal(row.reason, f"loading the model failed: {_first_line(error)}", row.hint, details)


def _first_line(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if len(lines) <= 1:
        return lines[0] if lines else type(error).__name__
    # TorchScript puts the cause last, below a traceback of the program.
    known = next((line for line in lines if nrt.classify(line) is not nrt.UNKNOWN), None)
    return (known or (lines[-1] if lines[0].startswith("The following operation failed") else lines[0]))[:500]


def main() -> int:
    # The front process ends its workers itself; a signal to the whole group must not take them away mid-drain.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    channel = Channel(socket.socket(fileno=int(sys.argv[1])))
    frame = channel.read()
    if frame is None or not isinstance(frame.message, Start):
        return 1
    worker = Worker(channel, frame.message)
    engine = attempt(worker.load)
    if isinstance(engine, Exception):
        channel.write(fatal_of(engine))
        return 1
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
