"""/predict's arithmetic and bodies: labels, probabilities, and what JSON cannot carry."""

import json
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from neuron_runtime.bundle import ClassificationSpec, TensorSpec
from neuron_runtime.engines.simulated import simulated_model
from neuron_runtime.errors import InferenceFailedError, InvalidRequestError
from neuron_runtime.served_model import ServedModel
from neuron_runtime.tensors import Array
from neuron_runtime.wire.predictions import TextsCall, encode_predictions, parse_texts, predict


def spec(activation: str = "softmax", *labels: str) -> ClassificationSpec:
    return ClassificationSpec.model_validate({"labels": labels or ("a", "b"), "activation": activation})


def classifier(datatype: str = "FP32", classification: ClassificationSpec | None = None) -> ServedModel:
    output = TensorSpec.model_validate({"name": "logits", "datatype": datatype, "shape": (-1, 2)})
    return replace(
        simulated_model("m", 1),
        task="TextClassification",
        outputs=(output,),
        classification=classification or spec(),
    )


def answered(model: ServedModel, logits: Array, *, as_list: bool = False, with_scores: bool = False) -> Any:
    return json.loads(encode_predictions(model, [logits], TextsCall([], as_list, with_scores)))


@pytest.mark.parametrize(
    ("activation", "logits", "expected"),
    [
        ("softmax", [0.0, 2.0], {"label": "b", "confidence": 0.880797}),
        ("softmax", [1000.0, -1000.0], {"label": "a", "confidence": 1.0}),
        ("sigmoid", [0.0, -1.0], {"label": "a", "confidence": 0.5}),
        ("sigmoid", [-1000.0, 1000.0], {"label": "b", "confidence": 1.0}),
    ],
)
def test_the_likeliest_label_has_its_probability(
    activation: str, logits: list[float], expected: dict[str, object]
) -> None:
    assert predict(spec(activation), np.array([logits], dtype=np.float32)) == [expected]


@pytest.mark.parametrize(
    ("activation", "scores"),
    [
        ("softmax", [("c", 0.867036), ("a", 0.117339), ("b", 0.015625)]),
        ("sigmoid", [("c", 0.880797), ("a", 0.5), ("b", 0.116757)]),
    ],
)
def test_every_label_has_its_score_on_request_likeliest_first(activation: str, scores: list[tuple[str, float]]) -> None:
    logits = np.array([[0.0, -2.0234, 2.0]], dtype=np.float32)
    found = predict(spec(activation, "a", "b", "c"), logits, with_scores=True)[0]

    assert (found["label"], found["confidence"]) == (scores[0][0], pytest.approx(scores[0][1], abs=2e-3))
    listed: Any = found["scores"]
    assert [score["label"] for score in listed] == [label for label, _ in scores]
    assert [score["confidence"] for score in listed] == pytest.approx([value for _, value in scores], abs=2e-3)
    assert activation == "sigmoid" or sum(score["confidence"] for score in listed) == pytest.approx(1)


def test_labels_that_are_as_likely_keep_the_bundle_s_order() -> None:
    found: Any = predict(spec("softmax", "x", "y", "z"), np.zeros((1, 3)), with_scores=True)[0]

    assert [score["label"] for score in found["scores"]] == ["x", "y", "z"]


def test_a_list_is_answered_with_a_list_even_of_one() -> None:
    logits = np.array([[0.0, 2.0]], dtype=np.float32)

    assert answered(classifier(), logits) == {"label": "b", "confidence": 0.880797}
    assert answered(classifier(), logits, as_list=True) == [{"label": "b", "confidence": 0.880797}]


def test_bfloat16_scores_are_read_as_numbers_not_as_bits() -> None:
    bits = (np.array([[0.0, 2.0]], dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)

    assert answered(classifier("BF16"), bits) == {"label": "b", "confidence": 0.880797}


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("datatype", ["FP32", "BF16"])
def test_scores_that_are_no_numbers_name_the_tensor(value: float, datatype: str) -> None:
    logits = np.array([[0.0, value]], dtype=np.float32)
    if datatype == "BF16":
        logits = (logits.view(np.uint32) >> 16).astype(np.uint16)

    with pytest.raises(InferenceFailedError, match="output 'logits' holds NaN or infinity"):
        answered(classifier(datatype), logits)


def test_more_scores_than_labels_are_the_server_s_error() -> None:
    with pytest.raises(InferenceFailedError, match="3 scores a row for 2 labels"):
        predict(spec(), np.zeros((1, 3)))


@pytest.mark.parametrize(
    ("body", "field", "told"),
    [
        ({"text": "a", "scores": "yes"}, "scores", "'scores' must be true or false, not a text"),
        ({"text": "a", "scores": None}, "scores", "not null"),
        ({"text": "a", "image": "b"}, "image", "unknown field 'image'; the fields are text, scores"),
        ({"text": 1}, "text", "'text' must be a text or a list of texts"),
    ],
)
def test_a_wrong_field_is_named(body: object, field: str, told: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_texts(json.dumps(body).encode(), classifier())
    assert told in caught.value.message
    assert caught.value.field == field
