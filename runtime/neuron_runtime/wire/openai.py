"""The OpenAI-compatible part: `POST /v1/embeddings`, `GET /v1/models`, and their errors. Pure, pooling included.

Token ids are refused unless a setting accepts them: popular clients make them with OpenAI's tokenizer, and here they
would be other words.
"""

import base64
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from neuron_runtime.bundle import EmbeddingSpec
from neuron_runtime.errors import (
    InferenceFailedError,
    InvalidRequestError,
    QueueFullError,
    RuntimeServingError,
    UnknownPathError,
)
from neuron_runtime.served_model import ServedModel
from neuron_runtime.tensors import Array, as_float32
from neuron_runtime.wire.json_body import (
    JsonObject,
    check_fields,
    check_finite,
    dump,
    parse_object,
    texts_of,
    type_word,
)

FIELDS = ("input", "model", "encoding_format", "dimensions", "user")
ENCODINGS = ("float", "base64")


@dataclass(frozen=True)
class EmbeddingsCall:
    """`token_ids` where the caller sent those (`texts` is empty then), one list a row."""

    texts: list[str]
    token_ids: list[list[int]]
    as_base64: bool

    @property
    def rows(self) -> int:
        return len(self.texts) or len(self.token_ids)


def parse_embeddings(body: bytes, model: ServedModel, *, accept_token_ids: bool = False) -> EmbeddingsCall:
    check_task(model)
    document = parse_object(body)
    check_fields(document, FIELDS)
    name = document.get("model", model.name)
    if not isinstance(name, str):
        raise InvalidRequestError(f"'model' must be a text, not {type_word(name)}", "model")
    if name != model.name:
        raise UnknownPathError(f"there is no model '{name}' here; this server serves '{model.name}'", "model")
    encoding = document.get("encoding_format", "float")
    if encoding not in ENCODINGS:
        raise InvalidRequestError("'encoding_format' must be float or base64", "encoding_format")
    _check_dimensions(document, model)
    _check_user(document)
    as_base64 = encoding == "base64"
    if _is_token_ids(document.get("input")):
        if not accept_token_ids:
            raise InvalidRequestError(
                "'input' holds token ids; send texts, because ids made by another tokenizer mean other words here "
                "(the server's setting accept-token-ids takes them as they are)",
                "input",
            )
        return EmbeddingsCall([], _token_ids(document["input"]), as_base64)
    return EmbeddingsCall(texts_of(document, "input")[0], [], as_base64)


def check_task(model: ServedModel) -> None:
    if model.task != "TextEmbedding":
        where = f"/v2/models/{model.name}/infer" if model.task == "Tensor" else "/predict"
        raise InvalidRequestError(f"model '{model.name}' is {model.kind}; use POST {where}", "model")


def _check_dimensions(document: JsonObject, model: ServedModel) -> None:
    assert model.embedding is not None, "a TextEmbedding model has dimensions (checked by its manifest)"
    wanted = document.get("dimensions")
    if wanted is not None and wanted != model.embedding.dimensions:
        raise InvalidRequestError(
            f"'dimensions' must be {model.embedding.dimensions}, the size this model gives",
            "dimensions",
        )


def _check_user(document: JsonObject) -> None:
    """OpenAI's field to tell its users apart by; it changes no answer, there or here."""
    user = document.get("user")
    if user is not None and not isinstance(user, str):
        raise InvalidRequestError(f"'user' must be a text, not {type_word(user)}", "user")


def _is_token_ids(value: object) -> bool:
    """Told by the first item; anything else is read as texts."""
    first = value[0] if isinstance(value, list) and value else None
    return type(first) is int or (isinstance(first, list) and (not first or type(first[0]) is int))


def _token_ids(value: object) -> list[list[int]]:
    """One list of ids, or several, as rows."""
    assert isinstance(value, list), "_is_token_ids was asked"
    if not isinstance(value[0], list):
        return [_ids(value, "input")]
    return [_ids(row, f"input[{index}]") for index, row in enumerate(value)]


def _ids(row: object, field: str) -> list[int]:
    if not isinstance(row, list):
        raise InvalidRequestError(f"'{field}' must be a list of token ids, not {type_word(row)}", field)
    if not row:
        raise InvalidRequestError(f"'{field}' is an empty list; give at least one token id", field)
    for index, number in enumerate(row):
        if type(number) is not int:
            place = f"{field}[{index}]"
            raise InvalidRequestError(f"'{place}' must be a token id, not {type_word(number)}", place)
    return row


def encode_embeddings(
    model: ServedModel, call: EmbeddingsCall, outputs: Sequence[Array], mask: Array | None, tokens: int
) -> bytes:
    """The answer in OpenAI's shape. `mask` is the attention mask of the rows, needed for mean pooling."""
    assert model.embedding is not None, "a TextEmbedding model has pooling (checked by its manifest)"
    spec = model.outputs[0]
    hidden = as_float32(outputs[0], spec.datatype)
    check_finite(spec.name, hidden)
    vectors = embed(model.embedding, hidden, mask)
    if not np.isfinite(vectors).all():
        raise InferenceFailedError(f"output '{spec.name}' is too large to be pooled and normalized in FP32")
    data = [
        {"object": "embedding", "index": index, "embedding": _base64(vector) if call.as_base64 else vector}
        for index, vector in enumerate(vectors)
    ]
    usage = {"prompt_tokens": tokens, "total_tokens": tokens}
    return dump({"object": "list", "data": data, "model": model.name, "usage": usage})


def embed(spec: EmbeddingSpec, hidden: Array, mask: Array | None) -> Array:
    """Vectors [rows, dimensions] in FP32 from a program's output, pooled and normalized as the bundle says."""
    values = hidden.astype(np.float32, copy=False)
    if spec.pooling == "cls":
        values = values[:, 0]
    elif spec.pooling == "mean":
        assert mask is not None, "mean pooling needs the attention mask; pack refuses a bundle without it"
        weights = mask[:, : values.shape[1], None].astype(np.float32)
        values = (values * weights).sum(axis=1) / np.maximum(weights.sum(axis=1), 1)
    if spec.normalize:
        lengths = np.maximum(np.linalg.norm(values, axis=1, keepdims=True), np.float32(1e-12))
        # By an infinite length every vector would become 0, which looks like an answer.
        lengths[~np.isfinite(lengths)] = np.nan
        values = values / lengths
    return np.ascontiguousarray(values, dtype=np.float32)


def models_list(model: ServedModel, created: int) -> JsonObject:
    return {"object": "list", "data": [model_entry(model, created)]}


def model_entry(model: ServedModel, created: int) -> JsonObject:
    return {"id": model.name, "object": "model", "created": created, "owned_by": "neuron-serving"}


_TYPES: Mapping[int, str] = {400: "invalid_request_error", 404: "invalid_request_error", 413: "invalid_request_error"}


def error_body(error: RuntimeServingError) -> bytes:
    kind = "rate_limit_error" if isinstance(error, QueueFullError) else _TYPES.get(error.status, "server_error")
    code = "model_not_found" if isinstance(error, UnknownPathError) and error.field == "model" else None
    field = error.field if isinstance(error, InvalidRequestError) else None
    return dump({"error": {"message": error.message, "type": kind, "param": field, "code": code}})


def _base64(vector: Array) -> str:
    return base64.b64encode(vector.astype("<f4").tobytes()).decode()
