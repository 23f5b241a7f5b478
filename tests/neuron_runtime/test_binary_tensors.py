"""Raw tensor bytes, as Triton's clients write them and read them, and every way in which they can be wrong."""

import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from tritonclient import utils as triton

from neuron_runtime.errors import InvalidRequestError
from neuron_runtime.messages import Run, decode, encode
from neuron_runtime.tensors import DTYPES, TensorDataError
from neuron_runtime.wire.binary_tensors import BinaryPart, array_from_bytes, bytes_of


def part(body: bytes, json_length: int) -> BinaryPart:
    return BinaryPart(body, str(json_length).encode())


@pytest.mark.parametrize("datatype", DTYPES)
def test_raw_values_are_read_without_a_copy_at_any_address(datatype: str) -> None:
    wanted = np.array([[0, 1, 1], [1, 0, 1]]).astype(DTYPES[datatype])
    body = b"x" * 7 + wanted.tobytes()

    array = array_from_bytes(body, (7, wanted.nbytes), datatype, [2, 3])

    np.testing.assert_array_equal(array, wanted)
    assert array.dtype == wanted.dtype
    assert not array.flags.owndata
    assert bytes(bytes_of(array, datatype)) == wanted.tobytes()


def test_unaligned_arrays_survive_the_way_to_a_worker() -> None:
    body = b"x" + np.arange(4, dtype="<f4").tobytes()
    array = array_from_bytes(body, (1, 16), "FP32", [1, 4])
    buffers = b"".join(encode(Run(1, 0, 1), [array]))
    header = struct.unpack("<II", buffers[:8])[0]

    frame = decode(buffers[8 : 8 + header], buffers[8 + header :])

    assert frame.arrays[0].tolist() == [[0.0, 1.0, 2.0, 3.0]]


def test_bf16_travels_as_its_bits() -> None:
    numbers = np.array([[1.0, -2.5, np.nan]], dtype=ml_dtypes.bfloat16)

    array = array_from_bytes(numbers.tobytes(), (0, 6), "BF16", [1, 3])

    assert array.tolist() == numbers.view(np.uint16).tolist()
    assert bytes(bytes_of(array, "BF16")) == numbers.tobytes()


def test_rows_cut_out_of_a_wider_array_are_written_without_the_rest() -> None:
    wide = np.arange(12, dtype="<i4").reshape(3, 4)

    assert np.frombuffer(bytes_of(wide[1:, :2], "INT32"), "<i4").tolist() == [4, 5, 8, 9]


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=6))
def test_bytes_elements_are_the_same_as_tritons(elements: list[bytes]) -> None:
    tensor = np.empty(len(elements), dtype=np.object_)
    tensor[:] = elements
    raw = triton.serialize_byte_tensor(tensor).item()

    array = array_from_bytes(raw, (0, len(raw)), "BYTES", [len(elements)])

    assert array.tolist() == elements
    assert bytes(bytes_of(array, "BYTES")) == raw


@pytest.mark.parametrize(
    ("raw", "shape", "told"),
    [
        (b"", [1], "ends at element 0 of 1: 0 bytes are left, a length takes 4"),
        (b"\x01\0\0\0a\x01\0", [2], "ends at element 1 of 2: 2 bytes are left"),
        (b"\x05\0\0\0abc", [1], "BYTES element 0 is 5 bytes long, but only 3 are left"),
        (b"\xff\xff\xff\xffabc", [1], "element 0 is 4294967295 bytes long, but only 3"),
        (b"\x01\0\0\0ab", [1], "has 1 bytes after the last of its 1 elements"),
        (b"\x01\0\0\0a", [2**62], "ends at element 1 of 4611686018427387904"),
    ],
)
def test_torn_bytes_tensors_are_refused(raw: bytes, shape: list[int], told: str) -> None:
    with pytest.raises(TensorDataError, match=told):
        array_from_bytes(raw, (0, len(raw)), "BYTES", shape)


def test_a_size_that_is_not_the_shapes_names_both() -> None:
    with pytest.raises(TensorDataError, match=r"binary_data_size is 15, but shape \[2, 2\] of FP32 needs 16 bytes"):
        array_from_bytes(bytes(32), (0, 15), "FP32", [2, 2])
    with pytest.raises(TensorDataError, match="needs 73786976294838206464 bytes"):
        array_from_bytes(bytes(32), (0, 32), "FP32", [2**62, 4])


def test_a_boolean_is_zero_or_one() -> None:
    with pytest.raises(TensorDataError, match="BOOL holds a byte of 7; false is 0 and true is 1"):
        array_from_bytes(b"\0\1\7", (0, 3), "BOOL", [3])


def test_tensors_are_taken_one_after_another() -> None:
    binary = part(b"{}" + b"\1\0\2\0" + b"\1", 2)

    taken = [binary.take(4, "INT16", [2]).tolist(), binary.take(1, "BOOL", [1]).tolist()]
    binary.check_used_up()

    assert (binary.json, taken) == (b"{}", [[1, 2], [True]])
    with pytest.raises(TensorDataError, match="binary_data_size is 2, but only 0 bytes of the body are left"):
        binary.take(2, "INT16", [1])


def test_bytes_that_belong_to_no_tensor_are_refused() -> None:
    binary = part(b"{}" + bytes(6), 2)
    binary.take(4, "INT32", [1])

    with pytest.raises(InvalidRequestError, match=r"has 8 bytes, but its JSON of 2 .* tensors of 4 .* make 6"):
        binary.check_used_up()


@pytest.mark.parametrize("length", [b"-1", b"+2", b"2.0", b"", b"two", b"\xb2", b"9" * 5000, b" 2"])
def test_the_length_of_the_json_is_a_whole_number(length: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="header Inference-Header-Content-Length must be a whole number"):
        BinaryPart(b"{}", length)


@pytest.mark.parametrize(("length", "told"), [(0, "is 0, but a body of raw values"), (3, "is 3, but the body has 2")])
def test_the_json_is_within_the_body(length: int, told: str) -> None:
    with pytest.raises(InvalidRequestError, match=told):
        part(b"{}", length)
