"""The protocol's datatypes as numpy arrays."""

from typing import get_args

import ml_dtypes
import numpy as np
import pytest

from neuron_runtime.bundle import Datatype
from neuron_runtime.tensors import DTYPES, as_float32


def test_every_datatype_of_a_bundle_has_a_dtype() -> None:
    assert set(DTYPES) == set(get_args(Datatype))


def test_bf16_bits_are_read_as_the_numbers_they_mean() -> None:
    every_bit_pattern = np.arange(2**16, dtype=np.uint16).reshape(256, 256)

    numbers = as_float32(every_bit_pattern, "BF16")

    meant = every_bit_pattern.view(ml_dtypes.bfloat16).astype(np.float32)
    np.testing.assert_array_equal(numbers, meant)
    assert numbers.dtype == np.float32


@pytest.mark.parametrize("datatype", ["FP16", "FP32", "FP64", "UINT16", "INT8"])
def test_other_numbers_keep_their_values(datatype: str) -> None:
    numbers = as_float32(np.array([[0, 1, 100]], dtype=DTYPES[datatype]), datatype)

    assert numbers.tolist() == [[0.0, 1.0, 100.0]]
    assert numbers.dtype == np.float32


def test_what_no_fp32_can_be_is_infinite() -> None:
    assert as_float32(np.array([1e300, -1e300, 0.5]), "FP64").tolist() == [np.inf, -np.inf, 0.5]
