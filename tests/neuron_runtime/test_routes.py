"""What a client is told when the server itself is at fault, and other promises of the routes that need no worker."""

import json
import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import NoReturn, cast

import httpx
import pytest
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from neuron_runtime.batcher import Batcher
from neuron_runtime.bundle import ClassificationSpec, EmbeddingSpec, Task, TensorSpec
from neuron_runtime.pool import Pool
from neuron_runtime.routes import Routes
from neuron_runtime.served_model import ServedModel
from neuron_runtime.service import Service
from neuron_runtime.serving import assemble, make_plan
from neuron_runtime.settings import ServeSettings
from neuron_runtime.tokens import EncodedTexts, TextEncoder, TextTooLongError

TENSOR = {"name": "input", "shape": [1, 16], "datatype": "FP32", "data": [0] * 16}
INFER, PREDICT, EMBEDDINGS = "/v2/models/simulated/infer", "/predict", "/v1/embeddings"
BODIES: dict[str, object] = {INFER: {"inputs": [TENSOR]}, PREDICT: {"text": "a"}, EMBEDDINGS: {"input": "a"}}


class ReadyPool:
    def ready_count(self) -> int:
        return 1


class BrokenBatcher:
    has_worker = True

    def __init__(self) -> None:
        self.calls = 0

    async def infer(self, *_: object) -> NoReturn:
        self.calls += 1
        raise ZeroDivisionError("a bug in us")


class Encoder:
    """Plays a tokenizer; `encode` is what the test wants it to do."""

    def __init__(self, encode: Callable[[Sequence[str]], EncodedTexts]) -> None:
        self.encode = encode


class BrokenCollector(Collector):
    def collect(self) -> Iterator[Metric]:
        raise ZeroDivisionError("a bug in us")

    def describe(self) -> Iterator[Metric]:
        return iter(())


def broken(_: Sequence[str]) -> EncodedTexts:
    raise ZeroDivisionError("a bug in us")


def second_is_too_long(_: Sequence[str]) -> EncodedTexts:
    raise TextTooLongError(1, 600, 512)


async def service_of(task: Task = "Tensor", encode: Callable[[Sequence[str]], EncodedTexts] = broken) -> Service:
    """A service whose worker is ready and whose batcher fails in a way nobody foresaw."""
    settings = ServeSettings.load(["--engine", "simulated"])
    service, _ = assemble(settings, await make_plan(settings, {}), {})
    service.model = replace(
        service.model,
        task=task,
        classification=ClassificationSpec(labels=("a", "b")),
        embedding=EmbeddingSpec(dimensions=4, pooling="none", normalize=False),
    )
    service.pool = cast(Pool, ReadyPool())
    service.batcher = cast(Batcher, BrokenBatcher())
    service.encoder = cast(TextEncoder, Encoder(encode))
    return service


def client(service: Service) -> httpx.AsyncClient:
    return httpx.AsyncClient(transport=httpx.ASGITransport(Routes(service)), base_url="http://server")


@pytest.mark.parametrize(
    ("path", "task"), [(INFER, "Tensor"), (PREDICT, "TextClassification"), (EMBEDDINGS, "TextEmbedding")]
)
async def test_what_nobody_foresaw_is_500_in_the_api_s_own_shape(
    path: str, task: Task, caplog: pytest.LogCaptureFixture
) -> None:
    service = await service_of(task)

    async with client(service) as http:
        response = await http.post(path, json=BODIES[path], headers={"x-request-id": "call-7"})

    error = response.json()["error"]
    message = error["message"] if path == EMBEDDINGS else error
    assert (response.status_code, response.headers["x-request-id"]) == (500, "call-7")
    assert "call-7" in message
    assert "bug in us" not in response.text
    logged = [record for record in caplog.records if record.exc_info]
    assert [record.getMessage() for record in logged] == ["request failed unexpectedly"]
    assert vars(logged[0])["requestId"] == "call-7"
    name = {INFER: "infer", PREDICT: "predict", EMBEDDINGS: "embeddings"}[path]
    value = service.metrics.registry.get_sample_value("neuron_model_requests_total", {"api": name, "code": "500"})
    assert value == 1


async def test_a_quiet_route_that_fails_answers_500_too(caplog: pytest.LogCaptureFixture) -> None:
    service = await service_of()
    service.metrics.registry.register(BrokenCollector())

    async with client(service) as http:
        response = await http.get("/metrics")

    assert response.status_code == 500
    assert response.headers["x-request-id"] in response.json()["error"]
    assert len([record for record in caplog.records if record.levelno == logging.ERROR]) == 1


@pytest.mark.parametrize(
    ("path", "task", "field"), [(PREDICT, "TextClassification", None), (EMBEDDINGS, "TextEmbedding", "input[1]")]
)
async def test_a_text_that_is_too_long_is_named(path: str, task: Task, field: str | None) -> None:
    async with client(await service_of(task, second_is_too_long)) as http:
        response = await http.post(path, json={"input" if path == EMBEDDINGS else "text": ["a", "b" * 600]})

    error = response.json()["error"]
    assert response.status_code == 400
    if field is not None:
        assert error["param"] == field
    assert "at most 512" in json.dumps(error)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
async def test_an_output_without_a_json_form_is_refused_before_it_is_computed(datatype: str) -> None:
    service = await service_of()
    half = TensorSpec.model_validate({"name": "half", "datatype": datatype, "shape": (-1, 4)})
    service = replace(service, model=with_output(service.model, half))

    async with client(service) as http:
        all_outputs = await http.post(INFER, json={"inputs": [TENSOR]})
        asked_for = await http.post(INFER, json={"inputs": [TENSOR], "outputs": [{"name": "half"}]})

    for response in (all_outputs, asked_for):
        assert response.status_code == 400
        assert f"output 'half' is {datatype}, which has no JSON form" in response.json()["error"]
    assert cast(BrokenBatcher, service.batcher).calls == 0


async def test_what_is_not_allowed_names_what_is() -> None:
    async with client(await service_of()) as http:
        response = await http.put("/v1/embeddings")

    assert (response.status_code, response.headers["allow"]) == (405, "POST")
    assert response.json()["error"]["message"] == "PUT is not allowed on /v1/embeddings; use POST"


@pytest.mark.parametrize("path", ["/health/", "/v2/models/simulated/infer\n", "/v2/models/simulated/", "//health"])
@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_path_that_is_only_nearly_one_is_unknown(method: str, path: str) -> None:
    async with client(await service_of()) as http:
        # A whole address: //health alone would be the path / of a host called health.
        response = await http.request(method, "http://server" + path.replace("\n", "%0A"))

    assert response.status_code in (404, 405)
    assert response.json()["error"]


async def test_the_served_model_is_found_by_its_name_and_no_other() -> None:
    async with client(await service_of()) as http:
        found, other = await http.get("/v1/models/simulated"), await http.get("/v1/models/gpt")
        listed = await http.get("/v1/models")

    assert found.json() == listed.json()["data"][0]
    assert (found.json()["id"], found.json()["object"]) == ("simulated", "model")
    assert (other.status_code, other.json()["error"]["code"]) == (404, "model_not_found")


def with_output(model: ServedModel, more: TensorSpec) -> ServedModel:
    return replace(model, outputs=(*model.outputs, more))
