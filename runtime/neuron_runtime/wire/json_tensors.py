"""Tensors out of JSON lists. Pure; called by the inference requests' codec.

Nothing is rounded into another kind of value, wrapped, or read out of a string: `struct` refuses every element that is
no number of the C type, which numpy would convert, and it does so without a loop in Python.
"""

import struct
from collections.abc import Mapping, Sequence
from itertools import chain

import numpy as np

from neuron_runtime.tensors import DTYPES, WITHOUT_JSON_FORM, Array, TensorDataError, size_of
from neuron_runtime.wire.json_body import type_word

_PACKED: Mapping[str, str] = {
    "INT8": "b",
    "INT16": "h",
    "INT32": "i",
    "INT64": "q",
    "UINT8": "B",
    "UINT16": "H",
    "UINT32": "I",
    "UINT64": "Q",
    "FP32": "f",
    "FP64": "d",
}
_TAKEN_WORDS = {"BOOL": "true or false", "BYTES": "strings", "FP32": "numbers", "FP64": "numbers"}
_TAKEN_TYPES: Mapping[str, tuple[type, ...]] = {
    "BOOL": (bool,),
    "BYTES": (str,),
    "FP32": (int, float),
    "FP64": (int, float),
}
_FOUND_WORDS: Mapping[type, str] = {
    bool: "true or false",
    int: "whole numbers",
    float: "fractions or numbers too large",
    str: "strings",
    list: "lists nested deeper than its shape",
    dict: "objects",
    type(None): "null",
}


def may_hold_booleans(text: bytes) -> bool:
    """Whether a JSON text has to be searched for true and false among the numbers: scanning it is half the price."""
    return b"true" in text or b"false" in text


def array_from_json(data: object, datatype: str, shape: Sequence[int], *, has_booleans: bool = True) -> Array:
    """A list, nested or flat in row-major order, as an array of `shape`; BYTES as UTF-8 in an array of objects.

    `has_booleans` is `may_hold_booleans` of the text that `data` comes from.
    """
    if datatype in WITHOUT_JSON_FORM:
        raise TensorDataError(
            f"{datatype} has no JSON form in the protocol; send it as binary data (the raw little-endian values after "
            "the JSON, with parameters.binary_data_size and the header Inference-Header-Content-Length)"
        )
    flat = _flat(data, shape)
    count = size_of(shape)
    if len(flat) != count:
        raise TensorDataError(f"data holds {len(flat)} values, its shape {list(shape)} needs {count}")
    code = _PACKED.get(datatype)
    if code is None:
        return _not_numbers(flat, datatype).reshape(shape)
    if has_booleans and bool in map(type, flat):  # struct takes True for 1
        raise _unfit(flat, datatype)
    try:
        packed = struct.pack(f"<{count}{code}", *flat)
    except (struct.error, OverflowError):
        raise _unfit(flat, datatype) from None
    return np.frombuffer(packed, DTYPES[datatype]).reshape(shape)


def _flat(data: object, shape: Sequence[int]) -> list[object]:
    if not isinstance(data, list):
        raise TensorDataError(f"data must be a list, not {type_word(data)}")
    sizes = [len(data)]
    while data and type(data[0]) is list and len(sizes) < len(shape):
        if set(map(type, data)) != {list} or len(lengths := set(map(len, data))) != 1:
            raise TensorDataError("data is ragged: its nested lists have different lengths")
        sizes += lengths
        data = list(chain.from_iterable(data))
    if len(sizes) > 1 and sizes != list(shape):
        raise TensorDataError(f"data is nested as {sizes}, its shape says {list(shape)}")
    return data


def _not_numbers(flat: list[object], datatype: str) -> Array:
    if set(map(type, flat)) != set(_TAKEN_TYPES[datatype]):
        raise _unfit(flat, datatype)
    if datatype == "BOOL":
        return np.array(flat, dtype=DTYPES[datatype])
    return np.fromiter((str(text).encode() for text in flat), dtype=np.object_, count=len(flat))


def _unfit(flat: list[object], datatype: str) -> TensorDataError:
    taken = _TAKEN_TYPES.get(datatype, (int,))
    found = next((type(value) for value in flat if type(value) not in taken), None)
    if found is not None:
        words = _TAKEN_WORDS.get(datatype, "whole numbers")
        return TensorDataError(f"data must hold {words} for datatype {datatype}, found {_FOUND_WORDS[found]}")
    dtype = DTYPES[datatype]
    if dtype.kind == "f":
        return TensorDataError(f"data holds a value beyond the range of {datatype}")
    limits = np.iinfo(dtype)
    return TensorDataError(f"data holds a value outside {limits.min}..{limits.max} ({datatype})")
