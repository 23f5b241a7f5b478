"""JSON bodies in, JSON bodies out, with errors that name the field. Pure; shared by the three APIs' codecs."""

from collections.abc import Mapping, Sequence
from typing import TypeAlias

import numpy as np
import orjson

from neuron_runtime.errors import InferenceFailedError, InvalidRequestError
from neuron_runtime.tensors import Array

JsonObject: TypeAlias = dict[str, object]


def parse_object(body: bytes) -> JsonObject:
    """The body as a JSON object."""
    if not body:
        raise InvalidRequestError("the body is empty; send a JSON object")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise InvalidRequestError(f"the body is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise InvalidRequestError(f"the body must be a JSON object, not {type_word(document)}")
    return document


def check_fields(document: Mapping[str, object], known: Sequence[str]) -> None:
    """A field nobody reads is a mistake of the caller's that would otherwise go unnoticed."""
    for name in document:
        if name not in known:
            raise InvalidRequestError(f"unknown field '{name}'; the fields are {', '.join(known)}", name)


def boolean_of(document: Mapping[str, object], field: str) -> bool:
    """A field that is true or false, and false where it is absent."""
    value = document.get(field, False)
    if not isinstance(value, bool):
        raise InvalidRequestError(f"'{field}' must be true or false, not {type_word(value)}", field)
    return value


def texts_of(document: Mapping[str, object], field: str, kind: str = "a text") -> tuple[list[str], bool]:
    """The texts of a field that holds one text or a list of them, and whether it was a list."""
    if field not in document:
        raise InvalidRequestError(f"field '{field}' is missing; give it {kind} or a list of texts", field)
    value = document[field]
    if isinstance(value, str):
        return [value], False
    if not isinstance(value, list):
        raise InvalidRequestError(f"'{field}' must be {kind} or a list of texts, not {type_word(value)}", field)
    if not value:
        raise InvalidRequestError(f"'{field}' is an empty list; give at least one text", field)
    for index, text in enumerate(value):
        if not isinstance(text, str):
            raise InvalidRequestError(f"'{field}[{index}]' must be a text, not {type_word(text)}", f"{field}[{index}]")
    return value, True


def check_finite(name: str, array: Array) -> None:
    """JSON has no NaN and no infinity, and a silent null would be worse than an error."""
    if array.dtype.kind == "f" and not np.isfinite(array).all():
        raise InferenceFailedError(f"output '{name}' holds NaN or infinity, which JSON cannot carry")


def dump(document: object) -> bytes:
    """JSON bytes; numpy arrays inside are written as lists."""
    return orjson.dumps(document, option=orjson.OPT_SERIALIZE_NUMPY)


def type_word(value: object) -> str:
    words = {
        dict: "an object",
        list: "a list",
        str: "a text",
        bool: "true or false",
        int: "a number",
        float: "a number",
    }
    return words.get(type(value), "null")
