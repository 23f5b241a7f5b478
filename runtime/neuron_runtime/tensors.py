"""Tensor datatypes of the Open Inference Protocol as numpy arrays. Pure.

Used on both sides of the process border and by the wire codecs. numpy has no bfloat16, so a BF16 tensor travels as
its 16 raw bits in a uint16 array and only the engines give it a meaning.
"""

from collections.abc import Mapping
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from neuron_runtime.bundle import Datatype
from neuron_runtime.errors import InvalidRequestError

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
WITHOUT_JSON_FORM: frozenset[Datatype] = frozenset({"FP16", "BF16"})
"""The protocol gives 16-bit floats no JSON form; they travel by the binary extension only."""

_ACCEPTED_KINDS = {"b": "b", "i": "iu", "u": "iu", "f": "iuf"}
_KIND_WORDS = {"b": "true or false", "i": "whole numbers", "u": "whole numbers of 0 or more", "f": "numbers"}


def array_from_json(data: object, datatype: Datatype, shape: tuple[int, ...], field: str) -> Array:
    """A JSON list, nested or flat in row-major order, as an array of `shape`; InvalidRequestError names `field`."""
    dtype = DTYPES[datatype]
    if datatype in WITHOUT_JSON_FORM:
        raise InvalidRequestError(f"{field}: {datatype} has no JSON form in the protocol", field)
    if not isinstance(data, list):
        raise InvalidRequestError(f"{field}.data must be a list of {_KIND_WORDS[dtype.kind]}", field)
    try:
        found = np.array(data)
    except ValueError:
        raise InvalidRequestError(f"{field}.data is ragged: its nested lists have different lengths", field) from None
    except OverflowError:
        raise InvalidRequestError(f"{field}.data holds a number that does not fit {datatype}", field) from None
    if found.size == 0:
        found = found.astype(dtype)
    if found.dtype.kind == "f" and datatype == "UINT64":
        found = _large_integers(data, found)
    if found.dtype.kind not in _ACCEPTED_KINDS[dtype.kind]:
        raise InvalidRequestError(
            f"{field}.data must hold {_KIND_WORDS[dtype.kind]} for datatype {datatype}, found {_found_word(found)}",
            field,
        )
    if found.ndim > 1 and found.shape != shape:
        raise InvalidRequestError(f"{field}.data is nested as {list(found.shape)}, its shape says {list(shape)}", field)
    if found.size != _product(shape):
        raise InvalidRequestError(
            f"{field}.data holds {found.size} values, its shape {list(shape)} needs {_product(shape)}", field
        )
    return _cast(found, dtype, datatype, field).reshape(shape)


def _cast(found: Array, dtype: np.dtype[Any], datatype: Datatype, field: str) -> Array:
    if found.dtype == dtype:
        return found
    if dtype.kind in "iu" and found.size:
        limits = np.iinfo(dtype)
        if int(found.min()) < limits.min or int(found.max()) > limits.max:
            raise InvalidRequestError(
                f"{field}.data holds a value outside {limits.min}..{limits.max} ({datatype})", field
            )
    with np.errstate(over="ignore"):
        cast = found.astype(dtype)
    if dtype.kind == "f" and not np.isfinite(cast).all():
        raise InvalidRequestError(f"{field}.data holds a value beyond the range of {datatype}", field)
    return cast


def _large_integers(data: list[object], found: Array) -> Array:
    """numpy makes floats of whole numbers on both sides of 2**63; the same list as integers, if it holds only such."""
    exact = np.array(data, dtype=object)
    if all(type(value) is int and 0 <= value < 2**64 for value in exact.flat):
        return exact.astype(np.uint64)
    return found


def _found_word(found: Array) -> str:
    words = {"b": "true or false", "i": "whole numbers", "u": "whole numbers", "f": "fractions", "U": "strings"}
    return words.get(found.dtype.kind, "null, objects or numbers too large")


def _product(shape: tuple[int, ...]) -> int:
    product = 1
    for size in shape:
        product *= size
    return product
