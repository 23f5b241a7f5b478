"""Compiled shapes: which bucket holds which rows, padding into it, and cutting the answer back out. Pure.

A Neuron program takes exactly one shape. A *form* is that shape without its batch; the buckets of one form differ only
in the batch size. The front process chooses forms, the worker pads and cuts, both through this module.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neuron_runtime.bundle import Bucket, TensorSpec
from neuron_runtime.errors import InvalidRequestError
from neuron_runtime.tensors import Array

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Form:
    """One non-batch shape of all inputs, and the (batch size, bucket index) pairs compiled for it, smallest first."""

    shapes: tuple[Shape, ...]
    programs: tuple[tuple[int, int], ...]

    @property
    def largest_batch_size(self) -> int:
        return self.programs[-1][0]

    def holds(self, shapes: Sequence[Shape]) -> bool:
        return all(
            len(mine) == len(theirs) and all(size <= room for size, room in zip(theirs, mine, strict=True))
            for mine, theirs in zip(self.shapes, shapes, strict=True)
        )

    def smallest_bucket(self, rows: int) -> int:
        """Index of the smallest bucket for `rows`, which must not exceed the largest batch."""
        return next(bucket for batch_size, bucket in self.programs if batch_size >= rows)


def forms_of(buckets: Sequence[Bucket]) -> tuple[Form, ...]:
    """All forms, smallest volume first. A second bucket of the same shape is ignored: the first serves."""
    grouped: dict[tuple[Shape, ...], dict[int, int]] = {}
    for index, bucket in enumerate(buckets):
        shapes = tuple(shape[1:] for shape in bucket.shapes.values())
        grouped.setdefault(shapes, {}).setdefault(bucket.batch_size, index)
    forms = [Form(shapes, tuple(sorted(programs.items()))) for shapes, programs in grouped.items()]
    return tuple(sorted(forms, key=lambda form: (sum(_volume(shape) for shape in form.shapes), form.shapes)))


def fitting_forms(forms: Sequence[Form], inputs: Sequence[TensorSpec], shapes: Sequence[Shape]) -> int:
    """Bit i is set when form i holds rows of these non-batch shapes; InvalidRequestError when none does."""
    fits = sum(1 << index for index, form in enumerate(forms) if form.holds(shapes))
    if fits:
        return fits
    largest = forms[-1].shapes
    for spec, room, shape in zip(inputs, largest, shapes, strict=True):
        if any(size > most for size, most in zip(shape, room, strict=True)):
            raise InvalidRequestError(
                f"input '{spec.name}': rows of {list(shape)} fit no compiled bucket; the largest holds {list(room)}",
                f"inputs.{spec.name}",
            )
    raise InvalidRequestError(
        "these input shapes fit no compiled bucket together; the largest holds "
        + ", ".join(f"{spec.name} {list(room)}" for spec, room in zip(inputs, largest, strict=True)),
        "inputs",
    )


def check_shape(spec: TensorSpec, shape: Shape, field: str) -> None:
    """A request's shape, batch first, against the model's; InvalidRequestError says what the model takes."""
    matches = len(shape) == len(spec.shape) and all(
        want in (-1, size) for want, size in zip(spec.shape, shape, strict=True)
    )
    if not matches:
        raise InvalidRequestError(
            f"{field}: shape {list(shape)} does not match {list(spec.shape)} (-1 takes any size), "
            f"the shape of input '{spec.name}'",
            f"{field}.shape",
        )
    if any(size < 1 for size in shape):
        raise InvalidRequestError(f"{field}: shape {list(shape)} has a size below 1", f"{field}.shape")


def pad_batch(parts: Sequence[Sequence[Array]], shapes: Sequence[Shape], pad_values: Sequence[int]) -> list[Array]:
    """The parts' rows, one after another, as one batch of exactly `shapes`.

    A variable dimension is filled with the input's pad value. Rows beyond the last real one repeat it: a row of
    zeros can make NaN in a model with a mask, which the device would report as an error of the whole batch.
    """
    batch: list[Array] = []
    for index, (shape, pad_value) in enumerate(zip(shapes, pad_values, strict=True)):
        pieces = [part[index] for part in parts]
        if len(pieces) == 1 and pieces[0].shape == shape and pieces[0].flags.aligned:
            batch.append(pieces[0])
            continue
        row = 0
        if all(piece.shape[1:] == shape[1:] for piece in pieces):
            padded = np.empty(shape, pieces[0].dtype)
            for piece in pieces:
                padded[row : row + len(piece)] = piece
                row += len(piece)
        else:
            padded = np.full(shape, pad_value, dtype=pieces[0].dtype)
            for piece in pieces:
                padded[(slice(row, row + len(piece)), *(slice(size) for size in piece.shape[1:]))] = piece
                row += len(piece)
        if row < len(padded):
            padded[row:] = padded[row - 1]
        batch.append(padded)
    return batch


STACKED_BYTES = 1 << 16
"""Copying more than this on the event loop takes longer than sending the pieces as they are."""


def stack_rows(parts: Sequence[Sequence[Array]]) -> Sequence[Sequence[Array]]:
    """Small parts of equal row shapes as one part, which is cheaper to send and to pad; others as they came."""
    if len(parts) == 1:
        return parts
    columns: list[Sequence[Array]] = list(zip(*parts, strict=True))
    for column in columns:
        row_shape = column[0].shape[1:]
        if column[0].nbytes * len(parts) > STACKED_BYTES or any(array.shape[1:] != row_shape for array in column):
            return parts
    return [[np.concatenate(column) for column in columns]]


def cut_rows(outputs: Sequence[Array], start: int, stop: int) -> list[Array]:
    """Rows [start, stop) of a batch's outputs, where no other dimension was padded."""
    return [output[start:stop] for output in outputs]


def cut_outputs(
    outputs: Sequence[Array], rows: tuple[int, int], specs: Sequence[TensorSpec], sizes: Mapping[int, int]
) -> list[Array]:
    """The rows [start, stop) of a batch's outputs, with every padded dimension cut back to the request's own size.

    `sizes` maps a bucket's padded size to the request's size (`variable_sizes`); an output dimension the model
    declares as -1 and that has the padded size is the same dimension, so it is cut.
    """
    start, stop = rows
    cut: list[Array] = []
    for spec, output in zip(specs, outputs, strict=True):
        index = [slice(start, stop)]
        for declared, size in zip(spec.shape[1:], output.shape[1:], strict=False):
            index.append(slice(sizes.get(size, size)) if declared == -1 else slice(None))
        cut.append(output[tuple(index)])
    return cut


def variable_sizes(inputs: Sequence[TensorSpec], form: Form, shapes: Iterable[Shape]) -> dict[int, int]:
    """Padded size → the request's size, for every input dimension the model declares as -1."""
    sizes: dict[int, int] = {}
    for spec, room, shape in zip(inputs, form.shapes, shapes, strict=True):
        for declared, padded, size in zip(spec.shape[1:], room, shape, strict=True):
            if declared == -1:
                sizes.setdefault(padded, size)
    return sizes


def join_rows(pieces: Sequence[tuple[int, Sequence[Array]]]) -> list[Array]:
    """Pieces of one request's outputs, each with its first row, put back together in row order."""
    ordered = [arrays for _, arrays in sorted(pieces, key=lambda piece: piece[0])]
    if len(ordered) == 1:
        return list(ordered[0])
    return [np.concatenate(column) for column in zip(*ordered, strict=True)]


def _volume(shape: Shape) -> int:
    volume = 1
    for size in shape:
        volume *= size
    return volume
