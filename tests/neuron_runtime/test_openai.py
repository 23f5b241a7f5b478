"""The OpenAI-compatible codec: inputs of every kind, pooling, and errors in OpenAI's shape."""

import base64
import json
import struct
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from neuron_runtime.bundle import EmbeddingSpec, TensorSpec
from neuron_runtime.engines.simulated import simulated_model
from neuron_runtime.errors import (
    InferenceFailedError,
    InvalidRequestError,
    NotReadyError,
    QueueFullError,
    RuntimeServingError,
    UnknownPathError,
)
from neuron_runtime.served_model import ServedModel
from neuron_runtime.tensors import Array
from neuron_runtime.wire.openai import EmbeddingsCall, embed, encode_embeddings, error_body, parse_embeddings

HIDDEN = np.array([[[1.0, 0.0], [3.0, 4.0], [9.0, 9.0]]], dtype=np.float32)
MASK = np.array([[1, 1, 0]])


def embedder(datatype: str = "FP32", *, normalize: bool = False) -> ServedModel:
    output = TensorSpec.model_validate({"name": "vectors", "datatype": datatype, "shape": (-1, 2)})
    embedding = EmbeddingSpec(dimensions=2, pooling="none", normalize=normalize)
    return replace(simulated_model("tiny", 1), task="TextEmbedding", outputs=(output,), embedding=embedding)


def parsed(*, accept_token_ids: bool = False, **body: object) -> EmbeddingsCall:
    return parse_embeddings(json.dumps(body).encode(), embedder(), accept_token_ids=accept_token_ids)


def answered(model: ServedModel, vectors: Array, *, as_base64: bool = False) -> Any:
    return json.loads(encode_embeddings(model, EmbeddingsCall(["a"], [], as_base64), [vectors], None, 3))


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


@pytest.mark.parametrize(
    ("value", "texts", "token_ids"),
    [
        ("a", ["a"], []),
        (["a", ""], ["a", ""], []),
        ([4, 5], [], [[4, 5]]),
        ([[4], [5, 6]], [], [[4], [5, 6]]),
    ],
)
def test_input_is_a_text_a_list_or_token_ids(value: object, texts: list[str], token_ids: list[list[int]]) -> None:
    call = parsed(input=value, accept_token_ids=True)

    assert (call.texts, call.token_ids, call.rows) == (texts, token_ids, len(texts) or len(token_ids))


@pytest.mark.parametrize("value", [[4, 5], [[4], [5]], [[]]])
def test_token_ids_are_refused_with_the_reason_unless_a_setting_takes_them(value: object) -> None:
    with pytest.raises(InvalidRequestError, match=r"ids made by another tokenizer .* accept-token-ids") as caught:
        parsed(input=value)
    assert caught.value.field == "input"


@pytest.mark.parametrize(
    ("value", "field", "told"),
    [
        ([], "input", "is an empty list"),
        ([[]], "input[0]", "is an empty list; give at least one token id"),
        ([1, "a"], "input[1]", "must be a token id, not a text"),
        ([1, True], "input[1]", "must be a token id, not true or false"),
        ([1.0, 2], "input[0]", "must be a text, not a number"),
        ([[1], "a"], "input[1]", "must be a list of token ids, not a text"),
        ([[1], [2, None]], "input[1][1]", "must be a token id, not null"),
        (["a", 1], "input[1]", "must be a text, not a number"),
        ([["a"]], "input[0]", "must be a text, not a list"),
    ],
)
def test_input_that_is_neither_names_its_place(value: object, field: str, told: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parsed(input=value, accept_token_ids=True)
    assert (caught.value.field, told in caught.value.message) == (field, True)


@pytest.mark.parametrize(
    ("field", "value", "status"),
    [
        ("model", "gpt", 404),
        ("model", None, 400),
        ("dimensions", 3, 400),
        ("dimensions", "2", 400),
        ("encoding_format", "hex", 400),
        ("encoding_format", None, 400),
        ("user", 4, 400),
        ("purpose", "x", 400),
    ],
)
def test_a_wrong_field_is_named(field: str, value: object, status: int) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parse_embeddings(json.dumps({"input": "a", field: value}).encode(), embedder())
    assert (caught.value.field, caught.value.status) == (field, status)


def test_the_model_s_own_dimensions_and_a_user_are_taken() -> None:
    assert parsed(input="a", dimensions=2, user="me", model="tiny", encoding_format="base64").as_base64


def test_vectors_are_numbers_or_base64_of_little_endian_floats() -> None:
    vectors = np.array([[1.5, -2.0]], dtype=np.float32)

    as_numbers, as_text = answered(embedder(), vectors), answered(embedder(), vectors, as_base64=True)

    assert as_numbers["data"] == [{"object": "embedding", "index": 0, "embedding": [1.5, -2.0]}]
    assert as_numbers["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert struct.unpack("<2f", base64.b64decode(as_text["data"][0]["embedding"])) == (1.5, -2.0)


def test_bfloat16_vectors_are_read_as_numbers_not_as_bits() -> None:
    bits = (np.array([[1.5, -2.0]], dtype=np.float32).view(np.uint32) >> 16).astype(np.uint16)

    assert answered(embedder("BF16"), bits)["data"][0]["embedding"] == [1.5, -2.0]


@pytest.mark.parametrize("as_base64", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_vector_that_is_no_number_names_the_tensor(value: float, as_base64: bool) -> None:
    with pytest.raises(InferenceFailedError, match="output 'vectors' holds NaN or infinity"):
        answered(embedder(), np.array([[value, 1.0]], dtype=np.float32), as_base64=as_base64)


def test_a_vector_that_overflows_while_it_is_normalized_is_no_silent_zero() -> None:
    vectors = np.full((1, 2), 3e38, dtype=np.float32)

    with np.errstate(over="ignore"), pytest.raises(InferenceFailedError, match="'vectors' is too large to be pooled"):
        answered(embedder(normalize=True), vectors)


@pytest.mark.parametrize(
    ("error", "kind", "param", "code"),
    [
        (InvalidRequestError("told", "input"), "invalid_request_error", "input", None),
        (UnknownPathError("told", "model"), "invalid_request_error", "model", "model_not_found"),
        (QueueFullError("told", 2), "rate_limit_error", None, None),
        (NotReadyError("told"), "server_error", None, None),
    ],
)
def test_errors_have_openai_s_shape(error: RuntimeServingError, kind: str, param: str | None, code: str | None) -> None:
    expected = {"message": "told", "type": kind, "param": param, "code": code}

    assert json.loads(error_body(error)) == {"error": expected}
