"""Frames survive the trip, however the stream is cut."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_runtime.messages import (
    Failed,
    Fatal,
    FrameReader,
    Message,
    Ping,
    Pong,
    Program,
    Progress,
    Result,
    Run,
    Start,
    encode,
)
from neuron_runtime.tensors import DTYPES

START = Start("cpu", "/model", ["FP32"], ["FP32"], [Program("a.pt", [[1, 2]])], [0], 2, {"service_seconds": 0.1})


@pytest.mark.parametrize(
    "message",
    [
        START,
        Run(7, 1, 2),
        Ping(),
        Pong(),
        Progress("ready", 1.5, [0.1]),
        Result(7, 0.25),
        Failed(7, "no", "retry"),
        Fatal("ModelLoadFailed", "what", "next", {"a": "b"}),
    ],
    ids=lambda message: message.kind,
)
def test_messages_come_back_equal(message: Message) -> None:
    (frame,) = FrameReader().feed(b"".join(encode(message)))

    assert frame.message == message


@settings(max_examples=50)
@given(st.lists(st.integers(0, 5), max_size=4), st.integers(1, 40))
def test_arrays_come_back_from_pieces_of_any_size(rows: list[int], step: int) -> None:
    arrays = [np.arange(count * 3, dtype=np.float32).reshape(count, 3) for count in rows]
    stream = b"".join(encode(Run(1, 0, len(rows)), arrays)) + b"".join(encode(Ping()))
    reader = FrameReader()

    frames = [frame for at in range(0, len(stream), step) for frame in reader.feed(stream[at : at + step])]

    assert [frame.message.kind for frame in frames] == ["run", "ping"]
    assert [found.tolist() for found in frames[0].arrays] == [array.tolist() for array in arrays]


@pytest.mark.parametrize("datatype", DTYPES)
def test_every_datatype_and_rank_comes_back(datatype: str) -> None:
    arrays = [np.ones((1,) * rank + (3,), dtype=DTYPES[datatype]) for rank in range(5)] * 60
    (frame,) = FrameReader().feed(b"".join(encode(Result(2**40, 0.5), arrays)))

    assert frame.message == Result(2**40, 0.5)
    assert [(found.dtype, found.shape) for found in frame.arrays] == [(array.dtype, array.shape) for array in arrays]


def test_a_slice_that_is_not_contiguous_is_sent_as_what_it_shows() -> None:
    array = np.arange(12).reshape(3, 4)[:, 1:3]
    (frame,) = FrameReader().feed(b"".join(encode(Result(1, 0.1), [array])))

    assert frame.arrays[0].tolist() == array.tolist()
