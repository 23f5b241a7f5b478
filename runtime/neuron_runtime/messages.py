"""What the front process and a worker say to each other: dataclasses and arrays in length-prefixed frames. Pure.

A frame is two little-endian 32-bit lengths, a header and the arrays' raw bytes. The header is JSON; the two messages of
every batch, Run and Result, have one of fixed fields, which costs a third. No pickle: a worker that was driven out of
its mind by a program must not be able to run code in the front process.
"""

import math
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, TypeAlias

import numpy as np
import orjson

from neuron_runtime.tensors import DTYPES, Array

Buffer: TypeAlias = bytes | bytearray | memoryview
_LENGTHS = struct.Struct("<II")


@dataclass(frozen=True)
class Start:
    """Front → worker, first of all: what to load. Shapes and datatypes are in the model's input and output order."""

    kind: ClassVar[str] = "start"
    engine: str
    bundle: str
    input_datatypes: Sequence[str]
    output_datatypes: Sequence[str]
    programs: Sequence["Program"]
    pad_values: Sequence[int]
    in_flight: int
    options: Mapping[str, float] = field(default_factory=dict)
    compiled: str = ""
    """For what and by what, as in "for inf2 by neuronx-cc 2.26"; error messages quote it."""


@dataclass(frozen=True)
class Program:
    """One bucket: its file within the bundle and the exact shape of every input."""

    file: str
    shapes: Sequence[Sequence[int]]


@dataclass(slots=True)
class Run:
    """Front → worker: one device batch of `parts` pieces. Arrays: every input of the first piece, then the next."""

    kind: ClassVar[str] = "run"
    batch: int
    bucket: int
    parts: int


@dataclass(frozen=True)
class Ping:
    kind: ClassVar[str] = "ping"


@dataclass(frozen=True)
class Pong:
    kind: ClassVar[str] = "pong"


@dataclass(frozen=True)
class Progress:
    """Worker → front: it entered `state`; `seconds` is what the state before took. Ready brings the buckets' times."""

    kind: ClassVar[str] = "progress"
    state: str
    seconds: float = 0.0
    bucket_seconds: Sequence[float] = ()


@dataclass(slots=True)
class Result:
    """Worker → front: the batch's outputs, padding rows removed."""

    kind: ClassVar[str] = "result"
    batch: int
    device_seconds: float


@dataclass(frozen=True)
class Failed:
    """Worker → front: the batch failed, the worker lives on unless `action` says otherwise (nrt.Action)."""

    kind: ClassVar[str] = "failed"
    batch: int
    message: str
    action: str


@dataclass(frozen=True)
class Fatal:
    """Worker → front, last of all: it cannot load; reason, message and hint as in the termination message."""

    kind: ClassVar[str] = "fatal"
    reason: str
    message: str
    hint: str
    details: Mapping[str, str] = field(default_factory=dict)


Message: TypeAlias = Start | Run | Ping | Pong | Progress | Result | Failed | Fatal
_KINDS: Mapping[str, type[Message]] = {kind.kind: kind for kind in (Start, Ping, Pong, Progress, Failed, Fatal)}


@dataclass(slots=True)
class Frame:
    message: Message
    arrays: Sequence[Array]


_RUN_TAG, _RESULT_TAG = b"R", b"A"
"""A JSON header starts with a brace."""
_RUN = struct.Struct("<cQHHH")
_RESULT = struct.Struct("<cQdH")
_DTYPES = tuple({dtype.str: dtype for dtype in DTYPES.values()}.values())
_DTYPE_CODES = {dtype: code for code, dtype in enumerate(_DTYPES)}
_MOST_DIMENSIONS = 16
_SHAPES = tuple(struct.Struct(f"<BB{dimensions}I") for dimensions in range(_MOST_DIMENSIONS + 1))


def encode(message: Message, arrays: Sequence[Array] = ()) -> list[Buffer]:
    """The frame as buffers to be written one after another; C-contiguous arrays are not copied.

    Only Run and Result carry arrays, of the datatypes and at most 16 dimensions.
    """
    if isinstance(message, Run):
        header = _RUN.pack(_RUN_TAG, message.batch, message.bucket, message.parts, len(arrays))
    elif isinstance(message, Result):
        header = _RESULT.pack(_RESULT_TAG, message.batch, message.device_seconds, len(arrays))
    else:
        assert not arrays, f"{message.kind} carries no arrays"
        header = orjson.dumps({"kind": message.kind, "body": message})
    payload: list[Buffer] = []
    payload_bytes = 0
    for array in arrays:
        shape = array.shape
        header += _SHAPES[len(shape)].pack(_DTYPE_CODES[array.dtype], len(shape), *shape)
        if array.size:
            payload.append(np.ascontiguousarray(array).data.cast("B"))
            payload_bytes += array.nbytes
    return [_LENGTHS.pack(len(header), payload_bytes) + header, *payload]


def decode(header: Buffer, payload: Buffer) -> Frame:
    """The frame from its two parts; the arrays are views of `payload`."""
    tag = header[0]
    if tag == _RUN_TAG[0]:
        _, batch, bucket, parts, count = _RUN.unpack_from(header)
        return Frame(Run(batch, bucket, parts), _arrays(header, _RUN.size, count, payload))
    if tag == _RESULT_TAG[0]:
        _, batch, device_seconds, count = _RESULT.unpack_from(header)
        return Frame(Result(batch, device_seconds), _arrays(header, _RESULT.size, count, payload))
    document = orjson.loads(header)
    body = document["body"]
    if document["kind"] == Start.kind:
        body["programs"] = [Program(**program) for program in body["programs"]]
    return Frame(_KINDS[document["kind"]](**body), ())


def _arrays(header: Buffer, at: int, count: int, payload: Buffer) -> list[Array]:
    arrays: list[Array] = []
    offset = 0
    for _ in range(count):
        dtype, form = _DTYPES[header[at]], _SHAPES[header[at + 1]]
        _, _, *shape = form.unpack_from(header, at)
        array = np.frombuffer(payload, dtype, math.prod(shape), offset).reshape(shape)
        arrays.append(array)
        at += form.size
        offset += array.nbytes
    return arrays


def frame_lengths(prefix: Buffer) -> tuple[int, int]:
    """Header and payload length from a frame's first `PREFIX_BYTES`."""
    header, payload = _LENGTHS.unpack(prefix)
    return int(header), int(payload)


PREFIX_BYTES = _LENGTHS.size


class FrameReader:
    """Frames out of a byte stream that arrives in pieces of any size."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that `data` completes."""
        # Nearly always one whole frame: it is then decoded where it lies.
        if not self._buffer and _frame_end(data) == len(data):
            return [_decode_at(memoryview(data))]
        self._buffer += data
        frames: list[Frame] = []
        while end := _frame_end(self._buffer):
            frames.append(_decode_at(memoryview(bytes(memoryview(self._buffer)[:end]))))
            del self._buffer[:end]
        return frames


def _frame_end(data: Buffer) -> int:
    """Where the frame at the start of `data` ends; 0 when it is not whole yet."""
    if len(data) < PREFIX_BYTES:
        return 0
    header, payload = _LENGTHS.unpack_from(data)
    end = PREFIX_BYTES + int(header) + int(payload)
    return end if len(data) >= end else 0


def _decode_at(frame: memoryview) -> Frame:
    header_end = PREFIX_BYTES + int(_LENGTHS.unpack_from(frame)[0])
    return decode(frame[PREFIX_BYTES:header_end], frame[header_end:])
