"""Choosing, padding and cutting: the arithmetic that must never mix up rows."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_runtime.buckets import (
    check_shape,
    cut_outputs,
    fitting_forms,
    forms_of,
    join_rows,
    pad_batch,
    variable_sizes,
)
from neuron_runtime.bundle import Bucket, TensorSpec
from neuron_runtime.errors import InvalidRequestError

IDS = TensorSpec(name="ids", datatype="INT64", shape=(-1, -1))
HIDDEN = TensorSpec(name="hidden", datatype="FP32", shape=(-1, -1, 4))


def bucket(batch: int, length: int) -> Bucket:
    return Bucket(file=f"b{batch}s{length}", shapes={"ids": (batch, length)})


FORMS = forms_of([bucket(8, 32), bucket(1, 32), bucket(4, 128)])


def test_forms_group_batches_and_put_the_smallest_shape_first() -> None:
    assert [(form.shapes, form.programs) for form in FORMS] == [
        (((32,),), ((1, 1), (8, 0))),
        (((128,),), ((4, 2),)),
    ]


@pytest.mark.parametrize(("length", "fits"), [(1, 0b11), (32, 0b11), (33, 0b10), (128, 0b10)])
def test_fitting_forms(length: int, fits: int) -> None:
    assert fitting_forms(FORMS, [IDS], [(length,)]) == fits


def test_rows_too_long_for_every_form_name_the_largest() -> None:
    with pytest.raises(InvalidRequestError, match=r"'ids': rows of \[129\] .* the largest holds \[128\]"):
        fitting_forms(FORMS, [IDS], [(129,)])


@pytest.mark.parametrize(("rows", "index"), [(1, 1), (2, 0), (8, 0)])
def test_smallest_bucket(rows: int, index: int) -> None:
    assert FORMS[0].smallest_bucket(rows) == index


@pytest.mark.parametrize("shape", [(2, 3, 1), (2,), (0, 3), (2, 0)])
def test_check_shape_refuses(shape: tuple[int, ...]) -> None:
    with pytest.raises(InvalidRequestError, match="inputs"):
        check_shape(IDS, shape, "inputs[0]")


def test_padding_fills_sequences_with_the_pad_value_and_repeats_the_last_row() -> None:
    parts = [[np.array([[1, 2]])], [np.array([[3]])]]

    (batch,) = pad_batch(parts, [(4, 3)], [9])

    assert batch.tolist() == [[1, 2, 9], [3, 9, 9], [3, 9, 9], [3, 9, 9]]


def test_a_full_batch_is_not_copied() -> None:
    array = np.ones((4, 3))

    assert pad_batch([[array]], [(4, 3)], [0])[0] is array


@settings(max_examples=50)
@given(st.data())
def test_every_request_gets_its_own_rows_back_at_its_own_length(data: st.DataObject) -> None:
    """Pad, run a program that works position by position, cut: what comes back is what went in."""
    lengths = data.draw(st.lists(st.integers(1, 6), min_size=1, max_size=4))
    counts = [data.draw(st.integers(1, 3)) for _ in lengths]
    parts = [
        [np.full((count, length), index + 1, dtype=np.int64)]
        for index, (count, length) in enumerate(zip(counts, lengths, strict=True))
    ]
    form = forms_of([bucket(12, 6)])[0]

    (batch,) = pad_batch(parts, [(12, 6)], [0])
    output = np.repeat(batch[:, :, None], 4, axis=2).astype(np.float32)

    row = 0
    for index, ((part,), count) in enumerate(zip(parts, counts, strict=True)):
        sizes = variable_sizes([IDS], form, [part.shape[1:]])
        (cut,) = cut_outputs([output], (row, row + count), [HIDDEN], sizes)
        assert cut.shape == (count, part.shape[1], 4)
        assert (cut == index + 1).all()
        row += count


@settings(max_examples=50)
@given(st.permutations(list(range(5))))
def test_pieces_are_joined_in_row_order_whatever_order_they_came_in(order: list[int]) -> None:
    pieces = [(2 * index, [np.array([2 * index, 2 * index + 1])]) for index in order]

    assert join_rows(pieces)[0].tolist() == list(range(10))
