"""`POST /predict`: a text or a list of texts in, label and confidence out. Pure, arithmetic included."""

from collections.abc import Sequence

import numpy as np

from neuron_runtime.bundle import ClassificationSpec
from neuron_runtime.errors import InvalidRequestError
from neuron_runtime.served_model import ServedModel
from neuron_runtime.tensors import Array
from neuron_runtime.wire.json_body import JsonObject, check_fields, check_finite, dump, parse_object, texts_of

_ELSEWHERE = {"Tensor": "/v2/models/{name}/infer", "TextEmbedding": "/v1/embeddings"}


def parse_predict(body: bytes, model: ServedModel) -> tuple[list[str], bool]:
    """The texts, and whether the caller sent a list."""
    check_task(model)
    document = parse_object(body)
    check_fields(document, ["text"])
    return texts_of(document, "text")


def check_task(model: ServedModel) -> None:
    if model.task != "TextClassification":
        where = _ELSEWHERE[model.task].format(name=model.name)
        raise InvalidRequestError(f"model '{model.name}' is a {model.task} model; use POST {where}")


def encode_predict(model: ServedModel, outputs: Sequence[Array], *, as_list: bool) -> bytes:
    """One prediction, or a list of them in the order of the texts."""
    assert model.classification is not None, "a TextClassification model has labels (checked by its manifest)"
    check_finite(model.outputs[0].name, outputs[0])
    predictions = predict(model.classification, outputs[0])
    return dump(predictions if as_list else predictions[0])


def predict(spec: ClassificationSpec, logits: Array) -> list[JsonObject]:
    """The likeliest label of each row of `logits` [rows, labels], with its probability."""
    scores = logits.astype(np.float64).reshape(len(logits), -1)
    probabilities = _sigmoid(scores) if spec.activation == "sigmoid" else _softmax(scores)
    best = probabilities.argmax(axis=1)
    return [
        {"label": spec.labels[index], "confidence": round(float(probabilities[row, index]), 6)}
        for row, index in enumerate(best)
    ]


def _softmax(scores: Array) -> Array:
    # The largest score is taken off first: exp would overflow otherwise.
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    quotient: Array = powers / powers.sum(axis=1, keepdims=True)
    return quotient


def _sigmoid(scores: Array) -> Array:
    halves: Array = 0.5 * (1 + np.tanh(0.5 * scores))
    return halves
