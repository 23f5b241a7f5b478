"""JSON data as arrays: every datatype that has a JSON form, exactly, or an error that says what was found."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_runtime.tensors import DTYPES, WITHOUT_JSON_FORM, TensorDataError
from neuron_runtime.wire.json_tensors import array_from_json

INTEGERS = [name for name, dtype in DTYPES.items() if dtype.kind in "iu" and name not in WITHOUT_JSON_FORM]


@pytest.mark.parametrize("datatype", INTEGERS)
def test_integers_to_their_limits_and_not_beyond(datatype: str) -> None:
    limits = np.iinfo(DTYPES[datatype])
    edges = [int(limits.min), int(limits.max)]

    array = array_from_json(edges, datatype, (2,))

    assert (array.tolist(), array.dtype) == (edges, DTYPES[datatype])
    for beyond in (limits.min - 1, limits.max + 1):
        with pytest.raises(TensorDataError, match=rf"outside {limits.min}\.\.{limits.max} \({datatype}\)"):
            array_from_json([int(beyond)], datatype, (1,))


def test_numbers_too_large_for_json_integers_are_not_rounded() -> None:
    """A JSON reader makes a float of 2**64, which no integer tensor takes."""
    with pytest.raises(TensorDataError, match="found fractions or numbers too large"):
        array_from_json([float(2**64)], "UINT64", (1,))


@pytest.mark.parametrize(
    ("data", "datatype", "told"),
    [
        ([1.5], "INT64", "must hold whole numbers for datatype INT64, found fractions"),
        ([1.0], "INT64", "found fractions"),
        ([True], "INT64", "found true or false"),
        ([1, True], "INT64", "found true or false"),
        ([0.5, False], "FP32", "must hold numbers for datatype FP32, found true or false"),
        ([1], "BOOL", "must hold true or false for datatype BOOL, found whole numbers"),
        ([True, 0], "BOOL", "found whole numbers"),
        (["1"], "FP32", "found strings"),
        (["NaN"], "FP64", "found strings"),
        ([None], "FP32", "found null"),
        ([{}], "FP32", "found objects"),
        ([1.0, [2.0]], "FP32", "found lists"),
        ([1], "BYTES", "must hold strings for datatype BYTES, found whole numbers"),
        ([1e39], "FP32", "beyond the range of FP32"),
        ([-1e39, 1], "FP32", "beyond the range of FP32"),
        ([1.0], "FP16", "FP16 has no JSON form in the protocol; send it as binary data"),
        ([1.0], "BF16", "BF16 has no JSON form in the protocol; send it as binary data"),
    ],
)
def test_wrong_values_say_what_was_found(data: list[object], datatype: str, told: str) -> None:
    with pytest.raises(TensorDataError, match=told):
        array_from_json(data, datatype, (len(data),))


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (5, "data must be a list, not a number"),
        ("12", "data must be a list, not a text"),
        ([1, 2, 3], r"data holds 3 values, its shape \[2, 2\] needs 4"),
        ([[1, 2], [3]], "data is ragged"),
        ([[1, 2], 3], "data is ragged"),
        ([[1], [2], [3], [4]], r"data is nested as \[4, 1\], its shape says \[2, 2\]"),
        ([[], []], r"data is nested as \[2, 0\]"),
        ([[[1], [2]], [[3], [4]]], "found lists nested deeper"),
    ],
)
def test_wrong_nesting_is_refused(data: object, told: str) -> None:
    with pytest.raises(TensorDataError, match=told):
        array_from_json(data, "FP32", (2, 2))


def test_whole_numbers_are_fine_as_floats() -> None:
    assert array_from_json([1, 2.5, 2**63], "FP64", (3,)).tolist() == [1.0, 2.5, 2.0**63]
    assert array_from_json([1, 2], "FP32", (2,)).dtype == np.float32


def test_strings_become_their_utf8_bytes() -> None:
    texts = ["", "null", "Straße", "a\0"]

    array = array_from_json(texts, "BYTES", (2, 2))

    assert array.tolist() == [[b"", b"null"], ["Straße".encode(), b"a\0"]]


@given(st.integers(1, 4), st.integers(1, 4), st.booleans(), st.sampled_from(["INT32", "FP64", "BOOL"]))
def test_nested_and_flat_lists_are_the_same_tensor(rows: int, columns: int, nested: bool, datatype: str) -> None:
    wanted = np.arange(rows * columns).astype(DTYPES[datatype]).reshape(rows, columns)
    data = wanted.tolist() if nested else wanted.ravel().tolist()

    array = array_from_json(data, datatype, (rows, columns))

    assert (array.tolist(), array.dtype) == (wanted.tolist(), wanted.dtype)
