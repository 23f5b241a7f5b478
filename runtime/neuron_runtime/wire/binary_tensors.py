"""Tensors as raw bytes, after Triton's binary tensor data extension: little-endian, row-major, no padding. Pure.

Called by the inference codecs in both directions. Numbers are views of the body, aligned or not; BOOL is one byte of
0 or 1; BYTES is a 32-bit length and so many bytes for each element.
"""

import struct
from collections.abc import Iterator, Sequence

import numpy as np

from neuron_runtime.errors import InvalidRequestError
from neuron_runtime.tensors import DTYPES, Array, TensorDataError, size_of

HEADER_LENGTH = b"inference-header-content-length"
HEADER_LENGTH_NAME = "Inference-Header-Content-Length"
_LONGEST_DIGITS = 18
_ELEMENT_LENGTH = struct.Struct("<I")


class BinaryPart:
    """What follows the JSON in a body, taken tensor by tensor in the order of the JSON."""

    def __init__(self, body: bytes, header: bytes) -> None:
        """`header` is the value of Inference-Header-Content-Length, the length of the JSON."""
        self._body = body
        self._json_length = self._position = _json_length(header, len(body))

    @property
    def json(self) -> bytes:
        return self._body[: self._json_length]

    def take(self, size: int, datatype: str, shape: Sequence[int]) -> Array:
        """The next `size` bytes as an array."""
        left = len(self._body) - self._position
        if size > left:
            raise TensorDataError(f"binary_data_size is {size}, but only {left} bytes of the body are left for it")
        array = array_from_bytes(self._body, (self._position, size), datatype, shape)
        self._position += size
        return array

    def check_used_up(self) -> None:
        if self._position != len(self._body):
            raise InvalidRequestError(
                f"the body has {len(self._body)} bytes, but its JSON of {self._json_length} "
                f"({HEADER_LENGTH_NAME}) and its tensors of {self._position - self._json_length} "
                f"(binary_data_size of the inputs) make {self._position}"
            )


def _json_length(header: bytes, body_length: int) -> int:
    if not header.isdigit() or len(header) > _LONGEST_DIGITS:
        raise InvalidRequestError(
            f"header {HEADER_LENGTH_NAME} must be a whole number, the length in bytes of the JSON in front of the "
            "binary data",
            HEADER_LENGTH_NAME,
        )
    length = int(header)
    if length == 0:
        raise InvalidRequestError(
            f"header {HEADER_LENGTH_NAME} is 0, but a body of raw values alone is not supported; put the JSON first",
            HEADER_LENGTH_NAME,
        )
    if length > body_length:
        raise InvalidRequestError(
            f"header {HEADER_LENGTH_NAME} is {length}, but the body has {body_length} bytes", HEADER_LENGTH_NAME
        )
    return length


def array_from_bytes(body: bytes, span: tuple[int, int], datatype: str, shape: Sequence[int]) -> Array:
    """The tensor in `span` (first byte, number of bytes) of `body`; TensorDataError when that is not just `shape`."""
    start, size = span
    count = size_of(shape)
    if datatype == "BYTES":
        elements = list(_elements(body, start, start + size, count))
        return np.fromiter(elements, dtype=np.object_, count=count).reshape(shape)
    dtype = DTYPES[datatype]
    if size != count * dtype.itemsize:
        raise TensorDataError(
            f"binary_data_size is {size}, but shape {list(shape)} of {datatype} needs {count * dtype.itemsize} bytes"
        )
    if datatype == "BOOL":
        highest = np.frombuffer(body, np.uint8, count, start).max()
        if highest > 1:
            raise TensorDataError(f"binary data of BOOL holds a byte of {highest}; false is 0 and true is 1")
    return np.frombuffer(body, dtype, count, start).reshape(shape)


def bytes_of(array: Array, datatype: str) -> memoryview:
    """The array's bytes as the extension wants them; not copied when the array is contiguous."""
    if datatype == "BYTES":
        elements: list[bytes] = array.reshape(-1).tolist()
        return memoryview(b"".join(part for one in elements for part in (_ELEMENT_LENGTH.pack(len(one)), one)))
    return np.ascontiguousarray(array, DTYPES[datatype]).reshape(-1).view(np.uint8).data


def _elements(body: bytes, position: int, end: int, count: int) -> Iterator[bytes]:
    for index in range(count):
        left = end - position
        if left < _ELEMENT_LENGTH.size:
            raise TensorDataError(
                f"binary data of BYTES ends at element {index} of {count}: {left} bytes are left, a length takes 4"
            )
        (length,) = _ELEMENT_LENGTH.unpack_from(body, position)
        position += _ELEMENT_LENGTH.size
        if length > end - position:
            raise TensorDataError(f"BYTES element {index} is {length} bytes long, but only {end - position} are left")
        yield body[position : position + length]
        position += length
    if position != end:
        raise TensorDataError(f"binary data of BYTES has {end - position} bytes after the last of its {count} elements")
