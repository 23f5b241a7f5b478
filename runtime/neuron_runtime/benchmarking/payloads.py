"""The body of an inference request for a model that is known by its metadata alone. Pure; for `targets`.

Every value is 1: a token that exists, a mask that is on, a number no model divides by.
"""

from math import prod
from typing import Any

Json = dict[str, Any]

_ONES: dict[str, object] = {"BOOL": True, "BYTES": "1", "FP32": 1.0, "FP64": 1.0} | {
    f"{sign}INT{bits}": 1 for sign in ("", "U") for bits in (8, 16, 32, 64)
}


class PayloadError(ValueError):
    """The metadata does not lead to a JSON request."""


def infer_payload(metadata: Json, *, rows: int, free_size: int) -> Json:
    """An Open Inference Protocol request of `rows` rows; `free_size` fills every other dimension that is -1."""
    inputs = metadata.get("inputs")
    if not isinstance(inputs, list) or not inputs:
        raise PayloadError("its metadata lists no inputs")
    return {"inputs": [_tensor(entry, rows, free_size) for entry in inputs]}


def _tensor(entry: object, rows: int, free_size: int) -> Json:
    if not isinstance(entry, dict) or not isinstance(entry.get("shape"), list):
        raise PayloadError(f"its metadata describes an input as {entry!r}")
    name, datatype = entry.get("name"), entry.get("datatype")
    if datatype not in _ONES:
        raise PayloadError(f"input '{name}' is {datatype}, which has no JSON form")
    first, *rest = entry["shape"] or [1]
    shape = [rows if first == -1 else first, *(free_size if size == -1 else size for size in rest)]
    return {"name": name, "datatype": datatype, "shape": shape, "data": [_ONES[datatype]] * prod(shape)}
