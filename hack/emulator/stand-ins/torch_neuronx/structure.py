"""The shape of a model's answer: one tensor, or tuples, lists and dictionaries of tensors. Pure.

A program returns a flat list; TorchScript code written from the structure builds the answer again, so that a loaded
file gives what the traced model gave.
"""

from collections.abc import Mapping

import torch


def flatten(answer: object) -> list[torch.Tensor]:
    if isinstance(answer, torch.Tensor):
        return [answer]
    if isinstance(answer, Mapping):
        return [tensor for part in answer.values() if part is not None for tensor in flatten(part)]
    if isinstance(answer, (tuple, list)):
        return [tensor for part in answer for tensor in flatten(part)]
    raise TypeError(f"a traced model returns tensors, or tuples, lists or dictionaries of them, not {type(answer)}")


def rebuilding_code(answer: object, source: str = "flat") -> str:
    """A TorchScript expression that makes the same structure from the list of tensors named `source`."""
    return _code(answer, source, _Counter())


class _Counter:
    def __init__(self) -> None:
        self.next = 0

    def take(self) -> int:
        self.next += 1
        return self.next - 1


def _code(answer: object, source: str, index: _Counter) -> str:
    if isinstance(answer, torch.Tensor):
        return f"{source}[{index.take()}]"
    if isinstance(answer, Mapping):
        items = [f"{key!r}: {_code(part, source, index)}" for key, part in answer.items() if part is not None]
        return "{" + ", ".join(items) + "}"
    assert isinstance(answer, (tuple, list)), "flatten() refuses everything else first"
    parts = "".join(_code(part, source, index) + ", " for part in answer)
    return f"[{parts}]" if isinstance(answer, list) else f"({parts})"


def rebuilt(answer: object, flat: list[torch.Tensor]) -> object:
    """`flat` in the structure of `answer`."""
    remaining = iter(flat)

    def build(part: object) -> object:
        if isinstance(part, torch.Tensor):
            return next(remaining)
        if isinstance(part, Mapping):
            return {key: build(value) for key, value in part.items()}
        assert isinstance(part, (tuple, list)), "flatten() refuses everything else first"
        return type(part)(build(value) for value in part)

    return build(answer)
