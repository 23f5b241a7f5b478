"""The three APIs over real HTTP, on the CPU engine with tiny programs: answers, and every kind of bad request."""

import base64
import json
import math
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from runtime_builders import text_bundle
from runtime_server import ready

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

ONE_ROW = {"name": "input", "shape": [1, 16], "datatype": "FP32", "data": list(range(16))}


@pytest.fixture(scope="module")
def tensors() -> Iterator[httpx.Client]:
    """A Tensor model: the simulated one, with a small body limit."""
    flags = ("--engine", "simulated", "--simulated-service-ms", "1", "--max-body-bytes", "20000")
    with ready(*flags, "--max-rows-per-request", "20") as server, server.client() as client:
        yield client


@pytest.fixture(scope="module")
def classifier(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    bundle = text_bundle(tmp_path_factory.mktemp("classifier"))
    with ready("--engine", "cpu", "--bundle", str(bundle)) as server, server.client() as client:
        yield client


@pytest.fixture(scope="module")
def embedder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[httpx.Client]:
    bundle = text_bundle(tmp_path_factory.mktemp("embedder"), "TextEmbedding")
    with ready("--engine", "cpu", "--bundle", str(bundle)) as server, server.client() as client:
        yield client


def infer(client: httpx.Client, **changes: Any) -> httpx.Response:
    return client.post("/v2/models/simulated/infer", json={"inputs": [ONE_ROW | changes]})


def test_infer_answers_with_id_name_and_values(tensors: httpx.Client) -> None:
    response = tensors.post("/v2/models/simulated/infer", json={"id": "call-7", "inputs": [ONE_ROW]})

    assert response.status_code == 200
    assert response.json() == {
        "model_name": "simulated",
        "model_version": "1",
        "id": "call-7",
        "outputs": [{"name": "output", "datatype": "FP32", "shape": [1, 4], "data": [0.0, 1.0, 2.0, 3.0]}],
    }
    assert response.headers["server-timing"].startswith("queue;dur=")


def test_infer_splits_rows_over_batches_and_joins_them_in_order(tensors: httpx.Client) -> None:
    rows = [[100.0 * row] * 16 for row in range(19)]

    answer = infer(tensors, shape=[19, 16], data=rows).json()["outputs"][0]

    assert answer["shape"] == [19, 4]
    assert answer["data"] == [value for row in rows for value in row[:4]]


def test_request_id_comes_back_and_is_made_when_missing(tensors: httpx.Client) -> None:
    given = tensors.post("/v2/models/simulated/infer", json={"inputs": [ONE_ROW]}, headers={"x-request-id": "abc"})
    made = infer(tensors)

    assert given.headers["x-request-id"] == "abc"
    assert made.headers["x-request-id"]


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        pytest.param({"datatype": "INT64"}, "has datatype 'INT64', the model takes FP32", id="wrong dtype"),
        pytest.param({"datatype": None}, "has datatype null, the model takes FP32", id="no dtype"),
        pytest.param({"shape": [1, 15]}, "shape [1, 15] does not match [-1, 16]", id="wrong shape"),
        pytest.param({"shape": [16]}, "shape [16] does not match [-1, 16]", id="wrong rank"),
        pytest.param({"shape": [0, 16], "data": []}, "has a size below 1", id="empty batch"),
        pytest.param(
            {"shape": "1,16"}, "inputs[0] ('input'): shape must be a list of whole numbers", id="shape no list"
        ),
        pytest.param(
            {"name": "x"}, "named 'x', which is no input of model 'simulated'; it takes input", id="unknown input"
        ),
        pytest.param({"data": [1, 2]}, "holds 2 values, its shape [1, 16] needs 16", id="too few values"),
        pytest.param({"data": ["a"] * 16}, "must hold numbers for datatype FP32, found strings", id="strings"),
        pytest.param({"data": [None] * 16}, "found null", id="nulls"),
        pytest.param({"data": [[1, 2], [3]]}, "is ragged", id="ragged"),
        pytest.param({"data": [[1.0] * 8] * 2}, "is nested as [2, 8], its shape says [1, 16]", id="nested otherwise"),
        pytest.param({"data": [1e300] * 16}, "beyond the range of FP32", id="overflow"),
        pytest.param({"data": 5}, "must be a list", id="data no list"),
        pytest.param(
            {"parameters": {"binary_data_size": 64}}, "the header Inference-Header-Content-Length", id="binary"
        ),
    ],
)
def test_infer_refuses_a_wrong_tensor(tensors: httpx.Client, changes: dict[str, Any], told: str) -> None:
    response = infer(tensors, **changes)

    assert response.status_code == 400
    assert told in response.json()["error"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        pytest.param(b"", "the body is empty", id="empty"),
        pytest.param(b"{", "the body is not JSON", id="not JSON"),
        pytest.param(b"[]", "must be a JSON object, not a list", id="a list"),
        pytest.param(b"{}", "'inputs' must be a list of at least one tensor", id="no inputs"),
        pytest.param(b'{"inputs": [4]}', "'inputs[0]' must be an object", id="input no object"),
        pytest.param(
            b'{"inputs": [{"name": "input", "shape": [1, 16], "datatype": "FP32"}]}', "data is missing", id="no data"
        ),
        pytest.param(json.dumps({"id": 4, "inputs": [ONE_ROW]}).encode(), "'id' must be a text", id="id no text"),
        pytest.param(json.dumps({"inputs": [ONE_ROW] * 2}).encode(), "given twice", id="twice"),
        pytest.param(
            json.dumps({"inputs": [ONE_ROW], "outputs": [{"name": "y"}]}).encode(),
            "named 'y', which is no output of model 'simulated'; it gives output",
            id="unknown output",
        ),
        pytest.param(json.dumps({"inputs": [ONE_ROW | {"data": [math.nan] * 16}]}).encode(), "holds NaN", id="NaN"),
        pytest.param(b'{"inputs": ' + b"[" * 5000 + b"]" * 5000 + b"}", "the body is not JSON", id="too deep"),
    ],
)
def test_infer_refuses_a_wrong_body(tensors: httpx.Client, body: bytes, told: str) -> None:
    response = tensors.post("/v2/models/simulated/infer", content=body)

    assert response.status_code == 400
    assert told in response.json()["error"]


@pytest.mark.parametrize(
    ("method", "path", "status", "told"),
    [
        ("POST", "/v2/models/other/infer", 404, "there is no model 'other' here; this server serves 'simulated'"),
        ("POST", "/v2/models/simulated/versions/9/infer", 404, "has no version '9' here; version '1' is served"),
        ("GET", "/v2/models/other", 404, "there is no model 'other'"),
        ("GET", "/v2/models/other/ready", 404, "there is no model 'other'"),
        ("GET", "/nothing", 404, "there is nothing at /nothing"),
        ("GET", "/predict", 405, "GET is not allowed on /predict; use POST"),
        ("DELETE", "/health", 405, "DELETE is not allowed on /health"),
        ("POST", "/predict", 400, "is a Tensor model; use POST /v2/models/simulated/infer"),
    ],
)
def test_wrong_paths_say_what_is_there(tensors: httpx.Client, method: str, path: str, status: int, told: str) -> None:
    response = tensors.request(method, path)

    assert response.status_code == status
    assert told in response.json()["error"]


@pytest.mark.parametrize(
    ("length", "told"),
    [
        ("21", "is 21, but the body has 20 bytes"),
        ("-1", "must be a whole number"),
        ("9" * 99, "must be a whole number"),
    ],
)
def test_a_wrong_length_of_the_json_is_refused(tensors: httpx.Client, length: str, told: str) -> None:
    headers = {"Inference-Header-Content-Length": length}
    response = tensors.post("/v2/models/simulated/infer", content=b"x" * 20, headers=headers)

    assert (response.status_code, f"header Inference-Header-Content-Length {told}" in response.json()["error"]) == (
        400,
        True,
    )


@pytest.mark.parametrize("chunked", [False, True], ids=["declared", "chunked"])
def test_large_bodies_and_many_rows_are_413(tensors: httpx.Client, chunked: bool) -> None:
    body = b" " * 30_000
    large = tensors.post(
        "/v2/models/simulated/infer", content=iter([body[:15_000], body[15_000:]]) if chunked else body
    )
    rows = infer(tensors, shape=[21, 16], data=[1] * 16 * 21)

    assert (large.status_code, large.json()["error"]) == (
        413,
        "the body is larger than 20000 bytes, the limit of this server",
    )
    assert (rows.status_code, rows.json()["error"]) == (
        413,
        "the request has 21 rows, at most 20 are served at once; split it into several requests",
    )


def test_compressed_bodies_are_refused(tensors: httpx.Client) -> None:
    response = tensors.post("/v2/models/simulated/infer", content=b"x", headers={"content-encoding": "gzip"})

    assert (response.status_code, "content-encoding gzip" in response.json()["error"]) == (400, True)


def test_a_wrong_timeout_header_is_refused_and_a_short_one_is_504(tensors: httpx.Client) -> None:
    body = {"inputs": [ONE_ROW]}
    wrong = tensors.post("/v2/models/simulated/infer", json=body, headers={"x-request-timeout-seconds": "soon"})
    short = tensors.post("/v2/models/simulated/infer", json=body, headers={"x-request-timeout-seconds": "0.0001"})

    assert (wrong.status_code, short.status_code) == (400, 504)
    assert "deadline passed" in short.json()["error"]


def test_metadata_and_health(tensors: httpx.Client) -> None:
    assert tensors.get("/v2").json()["name"] == "neuron-runtime"
    assert tensors.get("/v2/models/simulated").json()["inputs"] == [
        {"name": "input", "datatype": "FP32", "shape": [-1, 16]}
    ]
    assert tensors.get("/v2/health/live").json() == {"live": True}
    assert tensors.get("/v2/models/simulated/versions/1/ready").json() == {"name": "simulated", "ready": True}
    assert tensors.get("/health").json()["status"] == "ok"
    assert tensors.get("/v1/models").json()["data"][0]["id"] == "simulated"


def test_predict_takes_a_text_or_a_list(classifier: httpx.Client) -> None:
    one = classifier.post("/predict", json={"text": "good day"})
    many = classifier.post("/predict", json={"text": ["good day", "awful night", "fine good day"]})

    assert one.json() == {"label": "positive", "confidence": 0.880797}
    assert [answer["label"] for answer in many.json()] == ["positive", "negative", "positive"]


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ({}, "field 'text' is missing"),
        ({"text": 4}, "'text' must be a text or a list of texts, not a number"),
        ({"text": []}, "'text' is an empty list"),
        ({"text": ["a", None]}, "'text[1]' must be a text, not null"),
        ({"text": "a", "txt": "b"}, "unknown field 'txt'; the fields are text"),
        ({"text": "day " * 17}, "text 0 has 17 tokens"),
    ],
)
def test_predict_refuses(classifier: httpx.Client, body: object, told: str) -> None:
    response = classifier.post("/predict", json=body)

    assert response.status_code == 400
    assert told in response.json()["error"]


def test_a_program_that_raises_fails_its_request_alone(classifier: httpx.Client) -> None:
    """Token 99 is beyond the embedding: TorchScript raises, the worker lives, and the next request is served."""
    shape = {"shape": [1, 2], "datatype": "INT64"}
    inputs = [{"name": "input_ids", "data": [99, 1], **shape}, {"name": "attention_mask", "data": [1, 1], **shape}]
    response = classifier.post("/v2/models/tiny/infer", json={"inputs": inputs})

    assert response.status_code == 500
    assert "the model failed on this request: RuntimeError: index out of range" in response.json()["error"]
    assert classifier.post("/predict", json={"text": "good"}).status_code == 200


def test_sequence_lengths_are_padded_to_a_bucket_or_refused(classifier: httpx.Client) -> None:
    def post(length: int) -> httpx.Response:
        shape = {"shape": [1, length], "datatype": "INT64", "data": [2] * length}
        inputs = [{"name": name, **shape} for name in ("input_ids", "attention_mask")]
        return classifier.post("/v2/models/tiny/infer", json={"inputs": inputs})

    assert post(3).json()["outputs"][0]["data"] == [0.0, 12.0]
    assert post(17).status_code == 400
    assert "rows of [17] fit no compiled bucket; the largest holds [16]" in post(17).json()["error"]


def test_embeddings_are_normalized_and_counted(embedder: httpx.Client) -> None:
    answer = embedder.post("/v1/embeddings", json={"model": "tiny", "input": ["good day", "night"]}).json()
    encoded = embedder.post("/v1/embeddings", json={"input": "night", "encoding_format": "base64"}).json()

    vector = answer["data"][1]["embedding"]
    assert sum(value * value for value in vector) == pytest.approx(1, abs=1e-5)
    assert answer["usage"] == {"prompt_tokens": 3, "total_tokens": 3}
    assert struct.unpack("<8f", base64.b64decode(encoded["data"][0]["embedding"])) == pytest.approx(vector)


@pytest.mark.parametrize(
    ("body", "status", "param", "told"),
    [
        ({"input": "a", "model": "gpt"}, 404, "model", "there is no model 'gpt' here; this server serves 'tiny'"),
        ({"input": [1, 2]}, 400, "input", "holds token ids"),
        ({"input": [[1, 2]]}, 400, "input", "holds token ids"),
        ({"input": "a", "dimensions": 3}, 400, "dimensions", "must be 8"),
        ({"input": "a", "encoding_format": "hex"}, 400, "encoding_format", "float or base64"),
        ({}, 400, "input", "field 'input' is missing"),
        ({"input": ["a", "day " * 17]}, 400, "input[1]", "text 1 has 17 tokens"),
    ],
)
def test_embeddings_refuse_in_openai_shape(
    embedder: httpx.Client, body: object, status: int, param: str, told: str
) -> None:
    response = embedder.post("/v1/embeddings", json=body)
    error = response.json()["error"]

    assert (response.status_code, error["param"], error["type"]) == (status, param, "invalid_request_error")
    assert told in error["message"]
