"""Turns pydantic's errors into problems a person can act on: field path, what is wrong, did you mean. Pure."""

from collections.abc import Iterator, Sequence
from difflib import get_close_matches
from typing import Any

from pydantic import BaseModel, ValidationError

from neuron_operator.api.structural import structural_schema
from neuron_operator.errors import Problem


def problems_in(error: ValidationError, root: str, model: type[BaseModel]) -> list[Problem]:
    """One problem per wrong field, in the order of the fields."""
    return [Problem(_path(root, found["loc"]), _message(dict(found), model)) for found in error.errors()]


def _path(root: str, location: Sequence[int | str]) -> str:
    path = root
    for part in location:
        path += f"[{part}]" if isinstance(part, int) else f".{part}"
    return path


def _message(found: dict[str, Any], model: type[BaseModel]) -> str:
    location = found["loc"]
    if found["type"] == "extra_forbidden":
        known = sorted(_siblings(structural_schema(model), location[:-1]))
        close = get_close_matches(str(location[-1]), known, n=1, cutoff=0.5)
        return f"unknown field; did you mean {close[0]}?" if close else f"unknown field; known are {', '.join(known)}"
    if found["type"] == "missing":
        return "required"
    given = "" if isinstance(found["input"], dict | list) else f" (it is {found['input']!r})"
    return f"{found['msg']}{given}"


def _siblings(schema: dict[str, Any], location: Sequence[int | str]) -> Iterator[str]:
    for part in location:
        schema = schema.get("items", {}) if isinstance(part, int) else schema.get("properties", {}).get(part, {})
    yield from schema.get("properties", {})
