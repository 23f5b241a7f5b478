"""Tensor datatypes of the Open Inference Protocol as numpy arrays. Pure.

Used on both sides of the process border and by the wire codecs. numpy has no bfloat16, so a BF16 tensor travels as
its 16 raw bits in a uint16 array and only the engines give it a meaning.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Array: TypeAlias = NDArray[Any]
Tensors: TypeAlias = Mapping[str, Array]

DTYPES: Mapping[str, np.dtype[Any]] = {
    "BOOL": np.dtype("?"),
    "INT8": np.dtype("<i1"),
    "INT16": np.dtype("<i2"),
    "INT32": np.dtype("<i4"),
    "INT64": np.dtype("<i8"),
    "UINT8": np.dtype("<u1"),
    "UINT16": np.dtype("<u2"),
    "UINT32": np.dtype("<u4"),
    "UINT64": np.dtype("<u8"),
    "FP16": np.dtype("<f2"),
    "BF16": np.dtype("<u2"),
    "FP32": np.dtype("<f4"),
    "FP64": np.dtype("<f8"),
}
WITHOUT_JSON_FORM: frozenset[str] = frozenset({"FP16", "BF16"})
"""The protocol gives 16-bit floats no JSON form; they travel by the binary extension only."""


class TensorDataError(ValueError):
    """What is wrong with a tensor's data; which tensor it is, the caller adds."""


def size_of(shape: Sequence[int]) -> int:
    """How many values a tensor of this shape has."""
    return math.prod(shape)


def as_float32(array: Array, datatype: str) -> Array:
    """The numbers of any numeric tensor as FP32; exact for BF16, whose bits are the upper half of an FP32.

    FP64 beyond the range of FP32 becomes infinity.
    """
    if datatype == "BF16":
        return (array.astype("<u4") << np.uint32(16)).view("<f4")
    with np.errstate(over="ignore"):
        return array.astype(np.float32, copy=False)
