"""The OpenAI-compatible part: `POST /v1/embeddings`, `GET /v1/models`, and their errors. Pure, pooling included."""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neuron_runtime.bundle import EmbeddingSpec
from neuron_runtime.errors import InvalidRequestError, QueueFullError, RuntimeServingError, UnknownPathError
from neuron_runtime.served_model import ServedModel
from neuron_runtime.tensors import Array
from neuron_runtime.wire.json_body import JsonObject, check_fields, check_finite, dump, parse_object, texts_of

_FIELDS = ("input", "model", "encoding_format", "dimensions", "user")


@dataclass(frozen=True)
class EmbeddingsCall:
    texts: list[str]
    as_base64: bool


def parse_embeddings(body: bytes, model: ServedModel) -> EmbeddingsCall:
    check_task(model)
    document = parse_object(body)
    check_fields(document, _FIELDS)
    name = document.get("model", model.name)
    if name != model.name:
        raise UnknownPathError(f"there is no model '{name}' here; this server serves '{model.name}'", "model")
    encoding = document.get("encoding_format", "float")
    if encoding not in ("float", "base64"):
        raise InvalidRequestError("'encoding_format' must be float or base64", "encoding_format")
    _check_dimensions(document, model)
    _refuse_token_ids(document.get("input"))
    texts, _ = texts_of(document, "input")
    return EmbeddingsCall(texts, as_base64=encoding == "base64")


def check_task(model: ServedModel) -> None:
    if model.task != "TextEmbedding":
        where = "/predict" if model.task == "TextClassification" else f"/v2/models/{model.name}/infer"
        raise InvalidRequestError(f"model '{model.name}' is a {model.task} model; use POST {where}", "model")


def _check_dimensions(document: JsonObject, model: ServedModel) -> None:
    assert model.embedding is not None, "a TextEmbedding model has dimensions (checked by its manifest)"
    wanted = document.get("dimensions")
    if wanted is not None and wanted != model.embedding.dimensions:
        raise InvalidRequestError(
            f"'dimensions' must be {model.embedding.dimensions}, the size this model gives",
            "dimensions",
        )


def _refuse_token_ids(value: object) -> None:
    first = value[0] if isinstance(value, list) and value else None
    if type(first) is int or (isinstance(first, list) and first and type(first[0]) is int):
        raise InvalidRequestError(
            "'input' holds token ids; send texts, because ids made by another tokenizer mean other words here", "input"
        )


def encode_embeddings(
    model: ServedModel, call: EmbeddingsCall, outputs: Sequence[Array], mask: Array | None, tokens: int
) -> bytes:
    """The answer in OpenAI's shape. `mask` is the attention mask of the rows, needed for mean pooling."""
    assert model.embedding is not None, "a TextEmbedding model has pooling (checked by its manifest)"
    check_finite(model.outputs[0].name, outputs[0])
    vectors = embed(model.embedding, outputs[0], mask)
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if call.as_base64 else vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return dump({"object": "list", "data": data, "model": model.name, "usage": usage})


def embed(spec: EmbeddingSpec, hidden: Array, mask: Array | None) -> Array:
    """Vectors [rows, dimensions] in FP32 from a program's output, pooled and normalized as the bundle says."""
    values = hidden.astype(np.float32)
    if spec.pooling == "cls":
        values = values[:, 0]
    elif spec.pooling == "mean":
        assert mask is not None, "mean pooling needs the attention mask; pack refuses a bundle without it"
        weights = mask[:, : values.shape[1], None].astype(np.float32)
        values = (values * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
    if spec.normalize:
        values = values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.float32(1e-12))
    return np.ascontiguousarray(values, dtype=np.float32)


def models_list(model: ServedModel, created: int) -> JsonObject:
    entry = {"id": model.name, "object": "model", "created": created, "owned_by": "neuron-serving"}
    return {"object": "list", "data": [entry]}


_TYPES: Mapping[int, str] = {400: "invalid_request_error", 404: "invalid_request_error", 413: "invalid_request_error"}


def error_body(error: RuntimeServingError) -> bytes:
    kind = "rate_limit_error" if isinstance(error, QueueFullError) else _TYPES.get(error.status, "server_error")
    code = "model_not_found" if isinstance(error, UnknownPathError) and error.field == "model" else None
    field = error.field if isinstance(error, InvalidRequestError) else None
    return dump({"error": {"message": error.message, "type": kind, "param": field, "code": code}})


def _base64(vector: Array) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
