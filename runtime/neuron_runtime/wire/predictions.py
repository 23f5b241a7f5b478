"""`POST /predict`: texts or images in, label and confidence out, on request with every label's. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from neuron_runtime.bundle import ClassificationSpec
from neuron_runtime.errors import InferenceFailedError, InvalidRequestError
from neuron_runtime.served_model import ServedModel
from neuron_runtime.tensors import Array, as_float32
from neuron_runtime.wire.images import ImagesCall
from neuron_runtime.wire.json_body import (
    JsonObject,
    boolean_of,
    check_fields,
    check_finite,
    dump,
    parse_object,
    texts_of,
)

_ELSEWHERE = {"Tensor": "/v2/models/{name}/infer", "TextEmbedding": "/v1/embeddings"}
TEXT_FIELDS = ("text", "scores")


@dataclass(frozen=True)
class TextsCall:
    """`as_list`: the caller sent a list and gets one. `with_scores`: every label's probability is wanted."""

    texts: list[str]
    as_list: bool
    with_scores: bool


def parse_texts(body: bytes, model: ServedModel) -> TextsCall:
    check_task(model)
    document = parse_object(body)
    check_fields(document, TEXT_FIELDS)
    texts, as_list = texts_of(document, "text")
    return TextsCall(texts, as_list, boolean_of(document, "scores"))


def check_task(model: ServedModel) -> None:
    if model.task in _ELSEWHERE:
        where = _ELSEWHERE[model.task].format(name=model.name)
        raise InvalidRequestError(f"model '{model.name}' is {model.kind}; use POST {where}")


def encode_predictions(model: ServedModel, outputs: Sequence[Array], call: TextsCall | ImagesCall) -> bytes:
    """One prediction, or a list of them in the order of the texts or images."""
    assert model.classification is not None, "a classification model has labels (checked by its manifest)"
    spec = model.outputs[0]
    values = as_float32(outputs[0], spec.datatype)
    check_finite(spec.name, values)
    predictions = predict(model.classification, values, with_scores=call.with_scores)
    return dump(predictions if call.as_list else predictions[0])


def predict(spec: ClassificationSpec, logits: Array, *, with_scores: bool = False) -> list[JsonObject]:
    """The likeliest label of each row of `logits` [rows, labels], with its probability; or all, likeliest first.

    With softmax the probabilities of a row are shares of 1; with sigmoid each label has its own, whatever the others.
    """
    scores = logits.astype(np.float64).reshape(len(logits), -1)
    if scores.shape[1] != len(spec.labels):
        raise InferenceFailedError(f"the model gave {scores.shape[1]} scores a row for {len(spec.labels)} labels")
    probabilities = _sigmoid(scores) if spec.activation == "sigmoid" else _softmax(scores)
    if with_scores:
        return [_with_scores(spec, row) for row in probabilities]
    best = probabilities.argmax(axis=1)
    return [_scored(spec, index, probabilities[row, index]) for row, index in enumerate(best)]


def _with_scores(spec: ClassificationSpec, probabilities: Array) -> JsonObject:
    ordered = np.argsort(-probabilities, kind="stable")
    scores = [_scored(spec, index, probabilities[index]) for index in ordered]
    return scores[0] | {"scores": scores}


def _scored(spec: ClassificationSpec, index: int, probability: float) -> JsonObject:
    return {"label": spec.labels[index], "confidence": round(float(probability), 6)}


def _softmax(scores: Array) -> Array:
    # The largest score is taken off first: exp would overflow otherwise.
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    quotient: Array = powers / powers.sum(axis=1, keepdims=True)
    return quotient


def _sigmoid(scores: Array) -> Array:
    halves: Array = 0.5 * (1 + np.tanh(0.5 * scores))
    return halves
