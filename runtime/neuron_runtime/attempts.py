"""Calls into code that may raise anything: a program on its core, a library that raises plain Exception."""

from collections.abc import Callable
from typing import TypeVar

T = TypeVar("T")


def attempt(call: Callable[[], T]) -> T | Exception:
    """What the call returns or raises."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - what is raised here is told to whoever is answerable for it
        return error
