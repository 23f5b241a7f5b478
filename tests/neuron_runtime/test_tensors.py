"""JSON data as arrays: every datatype that has a JSON form, exactly, or an error."""

from typing import get_args

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_runtime.bundle import Datatype
from neuron_runtime.errors import InvalidRequestError
from neuron_runtime.tensors import DTYPES, WITHOUT_JSON_FORM, array_from_json

INTEGERS = [name for name, dtype in DTYPES.items() if dtype.kind in "iu" and name not in WITHOUT_JSON_FORM]


def test_every_datatype_of_the_protocol_has_a_dtype() -> None:
    assert set(DTYPES) == set(get_args(Datatype))


@pytest.mark.parametrize("datatype", INTEGERS)
def test_integers_to_their_limits_and_not_beyond(datatype: Datatype) -> None:
    limits = np.iinfo(DTYPES[datatype])
    edges = [int(limits.min), int(limits.max)]

    array = array_from_json(edges, datatype, (2,), "inputs[0]")

    assert (array.tolist(), array.dtype) == (edges, DTYPES[datatype])
    for beyond in (limits.min - 1, limits.max + 1):
        with pytest.raises(InvalidRequestError, match=r"inputs\[0\]\.data"):
            array_from_json([int(beyond)], datatype, (1,), "inputs[0]")


@pytest.mark.parametrize(
    ("data", "datatype", "told"),
    [
        ([1.5], "INT64", "must hold whole numbers for datatype INT64, found fractions"),
        ([True], "INT64", "found true or false"),
        ([1], "BOOL", "must hold true or false for datatype BOOL, found whole numbers"),
        (["1"], "FP32", "found strings"),
        ([1.0], "FP16", "FP16 has no JSON form"),
        ([1.0], "BF16", "BF16 has no JSON form"),
        ([1e39], "FP32", "beyond the range of FP32"),
    ],
)
def test_wrong_values_say_what_was_found(data: list[object], datatype: Datatype, told: str) -> None:
    with pytest.raises(InvalidRequestError, match=told):
        array_from_json(data, datatype, (1,), "x")


def test_whole_numbers_are_fine_as_floats_and_booleans_as_booleans() -> None:
    assert array_from_json([1, 2], "FP32", (2,), "x").dtype == np.float32
    assert array_from_json([True, False], "BOOL", (1, 2), "x").tolist() == [[True, False]]


@given(st.integers(1, 4), st.integers(1, 4), st.booleans())
def test_nested_and_flat_lists_are_the_same_tensor(rows: int, columns: int, nested: bool) -> None:
    wanted = np.arange(rows * columns, dtype=np.int32).reshape(rows, columns)
    data = wanted.tolist() if nested else wanted.ravel().tolist()

    assert array_from_json(data, "INT32", (rows, columns), "x").tolist() == wanted.tolist()
