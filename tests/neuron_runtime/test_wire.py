"""The codecs' arithmetic: labels and pooling. Bad requests are the API tests' matter."""

import numpy as np
import pytest

from neuron_runtime.bundle import ClassificationSpec, EmbeddingSpec
from neuron_runtime.wire.openai import embed
from neuron_runtime.wire.predictions import predict


@pytest.mark.parametrize(
    ("activation", "logits", "expected"),
    [
        ("softmax", [0.0, 2.0], {"label": "b", "confidence": 0.880797}),
        ("softmax", [1000.0, -1000.0], {"label": "a", "confidence": 1.0}),
        ("sigmoid", [0.0, -1.0], {"label": "a", "confidence": 0.5}),
        ("sigmoid", [-1000.0, 1000.0], {"label": "b", "confidence": 1.0}),
    ],
)
def test_predictions(activation: str, logits: list[float], expected: dict[str, object]) -> None:
    spec = ClassificationSpec.model_validate({"labels": ("a", "b"), "activation": activation})

    assert predict(spec, np.array([logits], dtype=np.float32)) == [expected]


HIDDEN = np.array([[[1.0, 0.0], [3.0, 4.0], [9.0, 9.0]]], dtype=np.float32)
MASK = np.array([[1, 1, 0]])


@pytest.mark.parametrize(
    ("pooling", "normalize", "expected"),
    [("mean", False, [2.0, 2.0]), ("cls", False, [1.0, 0.0]), ("mean", True, [0.70710678, 0.70710678])],
)
def test_pooling_never_counts_padding(pooling: str, normalize: bool, expected: list[float]) -> None:
    spec = EmbeddingSpec.model_validate({"dimensions": 2, "pooling": pooling, "normalize": normalize})

    assert embed(spec, HIDDEN, MASK)[0].tolist() == pytest.approx(expected)


def test_a_zero_vector_stays_one_and_is_not_nan() -> None:
    spec = EmbeddingSpec(dimensions=2, pooling="none", normalize=True)

    assert embed(spec, np.zeros((1, 2)), None).tolist() == [[0.0, 0.0]]
