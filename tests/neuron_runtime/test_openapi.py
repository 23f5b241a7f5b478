"""/openapi.json has every path of the table, valid schemas, and the served model's own names."""

import json
import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import orjson
import pytest
from jsonschema import Draft202012Validator

from neuron_runtime import errors
from neuron_runtime.bundle import Bucket, ClassificationSpec, EmbeddingSpec, ImageSpec, TensorSpec
from neuron_runtime.engines.simulated import simulated_model
from neuron_runtime.routes import PATHS
from neuron_runtime.routes.openapi import Facts, document
from neuron_runtime.served_model import ServedModel
from neuron_runtime.wire.open_inference import OpenInferenceCodec

TENSOR = replace(simulated_model("mine", 4), version="7")
CLASSES = ClassificationSpec(labels=("a", "b"))
TEXT = replace(TENSOR, task="TextClassification", classification=CLASSES)
EMBEDDING = EmbeddingSpec(dimensions=4, pooling="none", normalize=True)
VECTORS = replace(TENSOR, task="TextEmbedding", embedding=EMBEDDING)
IMAGE = replace(TENSOR, task="ImageClassification", classification=CLASSES, image=ImageSpec(resize=(4, 4)))
MODELS = [TENSOR, TEXT, VECTORS, IMAGE]


def described(model: ServedModel, vocabulary: int | None = None) -> Any:
    return json.loads(orjson.dumps(document(Facts(model, 32, vocabulary), PATHS)))


def operations(found: Any) -> Iterator[tuple[str, str, Any]]:
    for template, item in found["paths"].items():
        for method, operation in item.items():
            yield method.upper(), template, operation


def bodies(operation: Any) -> Iterator[Any]:
    yield from operation.get("requestBody", {}).get("content", {}).values()
    for response in operation["responses"].values():
        yield from response["content"].values()


def request_schema(found: Any, template: str, kind: str = "application/json") -> Any:
    return found["paths"][template]["post"]["requestBody"]["content"][kind]["schema"]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.task)
def test_every_path_of_the_table_is_there_with_valid_schemas(model: ServedModel) -> None:
    found = described(model)

    assert [(method, path) for method, path, _ in operations(found)] == [(row.method, row.template) for row in PATHS]
    ids = [operation["operationId"] for *_, operation in operations(found)]
    assert len(set(ids)) == len(ids)
    for *_, operation in operations(found):
        for body in bodies(operation):
            Draft202012Validator.check_schema(body["schema"])
    references = set(re.findall(r'"\$ref": "#/components/schemas/(\w+)"', json.dumps(found)))
    assert references == found["components"]["schemas"].keys()


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.task)
def test_every_status_is_one_of_the_errors_table(model: ServedModel) -> None:
    known = {"200", "431", *(str(error.status) for error in vars(errors).values() if hasattr(error, "status"))}

    for method, path, operation in operations(described(model)):
        assert operation["responses"].keys() <= known, path
        assert ("404" in operation["responses"]) == ("{" in path or path == "/v1/embeddings"), path
        if method == "POST":
            assert {"400", "408", "413", "429", "500", "503", "504"} <= operation["responses"].keys()
            assert "Retry-After" in operation["responses"]["429"]["headers"]


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.task)
def test_examples_are_what_their_schemas_say(model: ServedModel) -> None:
    tried = 0
    for *_, operation in operations(described(model)):
        for body in bodies(operation):
            for example in body.get("examples", {}).values():
                Draft202012Validator(body["schema"]).validate(example["value"])
                tried += 1
    assert tried >= 2


def test_the_example_of_an_inference_is_one_the_codec_takes() -> None:
    content = described(TENSOR)["paths"]["/v2/models/{model}/infer"]["post"]["requestBody"]["content"]
    example = content["application/json"]["examples"]["ones"]["value"]

    assert OpenInferenceCodec(TENSOR).parse(json.dumps(example).encode(), {}).rows == 1


def test_a_model_without_a_json_form_or_with_large_inputs_has_no_example() -> None:
    half = TensorSpec(name="half", datatype="FP16", shape=(-1, 4))
    large = TensorSpec(name="large", datatype="FP32", shape=(-1, 3, 224, 224))
    bucket = Bucket(file="b.pt", shapes={"large": (1, 3, 224, 224)})
    for model in (replace(TENSOR, outputs=(half,)), replace(TENSOR, inputs=(large,), buckets=(bucket,))):
        body = described(model)["paths"]["/v2/models/{model}/infer"]["post"]["requestBody"]["content"]
        assert "examples" not in body["application/json"]


def test_names_are_the_served_model_s() -> None:
    found = described(TENSOR)
    parameters = found["paths"]["/v2/models/{model}/versions/{version}/infer"]["post"]["parameters"]
    schema = request_schema(found, "/v2/models/{model}/infer")

    assert [parameter["schema"] for parameter in parameters[:2]] == [{"enum": ["mine"]}, {"enum": ["7"]}]
    assert schema["properties"]["inputs"]["items"]["properties"]["name"] == {"enum": ["input"]}
    assert schema["properties"]["inputs"]["items"]["properties"]["datatype"] == {"enum": ["FP32"]}


def test_token_ids_are_described_only_where_they_are_taken() -> None:
    refused = Draft202012Validator(request_schema(described(VECTORS), "/v1/embeddings"))
    taken = Draft202012Validator(request_schema(described(VECTORS, vocabulary=10), "/v1/embeddings"))

    for body in ({"input": [1, 9]}, {"input": [[1], [2, 3]]}):
        assert not refused.is_valid(body)
        assert taken.is_valid(body)
    for values in ("[10]", "[-1]", "[]", "[[]]"):
        assert not taken.is_valid({"input": json.loads(values)})


@pytest.mark.parametrize(("model", "field"), [(TEXT, "text"), (IMAGE, "image")], ids=["text", "image"])
def test_a_prediction_is_asked_for_by_what_the_model_takes(model: ServedModel, field: str) -> None:
    schema = Draft202012Validator(request_schema(described(model), "/predict"))

    assert schema.is_valid({field: "x"})
    assert schema.is_valid({field: ["x", "y"], "scores": True})
    wrong: list[dict[str, object]] = [{}, {field: []}, {field: 4}, {field: "x", "more": 1}, {field: ["x"] * 33}]
    assert not any(schema.is_valid(body) for body in wrong)


def test_what_another_task_would_answer_is_not_promised() -> None:
    for model, path in ((TENSOR, "/predict"), (VECTORS, "/predict"), (TEXT, "/v1/embeddings")):
        operation = described(model)["paths"][path]["post"]
        assert "200" not in operation["responses"]
        assert model.kind in operation["description"]
