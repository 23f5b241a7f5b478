"""JSON Schemas of what the APIs take and give, for the model that is served: its names, datatypes and labels. Pure.

Used by /openapi.json only. What a schema cannot say (that data fits its shape, that a text is short enough) the codecs
check, and answer 400.
"""

from collections.abc import Mapping

from neuron_runtime.bundle import TensorSpec
from neuron_runtime.served_model import ServedModel
from neuron_runtime.tensors import WITHOUT_JSON_FORM, size_of
from neuron_runtime.wire import openai
from neuron_runtime.wire.json_body import JsonObject

_ELEMENTS = {"BOOL": "boolean", "BYTES": "string", "FP16": "number", "BF16": "number", "FP32": "number"}
_ONES = {"BOOL": True, "BYTES": "1"}
MOST_EXAMPLE_VALUES = 1024
STRING: JsonObject = {"type": "string"}
BOOLEAN: JsonObject = {"type": "boolean"}
PROBABILITY: JsonObject = {"type": "number", "minimum": 0, "maximum": 1}
COUNT: JsonObject = {"type": "integer", "minimum": 0}
OIP_ERROR: JsonObject = {
    "type": "object",
    "properties": {"error": {"type": "string", "description": "What, where, what to do next."}},
    "required": ["error"],
}


def record(properties: Mapping[str, object], *optional: str) -> JsonObject:
    """An object of exactly these properties, all required but the `optional` ones."""
    found: JsonObject = {"type": "object", "properties": properties, "additionalProperties": False}
    required = [name for name in properties if name not in optional]
    return found | {"required": required} if required else found


def one_of(*values: object) -> JsonObject:
    return {"enum": list(values)}


def array_of(items: JsonObject, least: int = 0, most: int | None = None) -> JsonObject:
    found: JsonObject = {"type": "array", "items": items, "minItems": least}
    return found if most is None else found | {"maxItems": most}


def openai_error() -> JsonObject:
    nullable: JsonObject = {"type": ["string", "null"]}
    kinds = one_of("invalid_request_error", "rate_limit_error", "server_error")
    return record({"error": record({"message": STRING, "type": kinds, "param": nullable, "code": nullable})})


def infer_request(model: ServedModel) -> JsonObject:
    inputs = [_tensor(spec, is_input=True) for spec in model.inputs]
    names = one_of(*(spec.name for spec in model.outputs))
    wanted: JsonObject = {
        "type": "object",
        "properties": {"name": names, "parameters": _parameters()},
        "required": ["name"],
    }
    properties: JsonObject = {
        "id": {"type": ["string", "null"]},
        "parameters": _parameters(),
        "inputs": array_of(inputs[0] if len(inputs) == 1 else {"anyOf": inputs}, len(inputs), len(inputs)),
        "outputs": array_of(wanted),
    }
    return {"type": "object", "properties": properties, "required": ["inputs"]}


def infer_example(model: ServedModel) -> JsonObject | None:
    """One row of ones, if that is small enough to be read and every input has a JSON form."""
    shapes = {name: (1, *shape[1:]) for name, shape in model.buckets[0].shapes.items()}
    if any(spec.datatype in WITHOUT_JSON_FORM for spec in (*model.inputs, *model.outputs)):
        return None
    if sum(size_of(shape) for shape in shapes.values()) > MOST_EXAMPLE_VALUES:
        return None
    inputs = [
        {
            "name": spec.name,
            "shape": shapes[spec.name],
            "datatype": spec.datatype,
            "data": [_ONES.get(spec.datatype, 1)] * size_of(shapes[spec.name]),
        }
        for spec in model.inputs
    ]
    return {"inputs": inputs}


def infer_reply(model: ServedModel) -> JsonObject:
    outputs = [_tensor(spec, is_input=False) for spec in model.outputs]
    properties: JsonObject = {
        "model_name": one_of(model.name),
        "model_version": one_of(model.version),
        "id": STRING,
        "outputs": array_of({"anyOf": outputs}),
    }
    return {"type": "object", "properties": properties, "required": ["model_name", "outputs"]}


def _tensor(spec: TensorSpec, *, is_input: bool) -> JsonObject:
    shape = array_of({"type": "integer", "minimum": 1}, len(spec.shape), len(spec.shape))
    shape["description"] = f"{list(spec.shape)}, where -1 takes any size; batch first."
    in_json = spec.datatype not in WITHOUT_JSON_FORM
    data: JsonObject = {"type": "array", "description": "Row by row, flat or nested as the shape."}
    data["items"] = {"type": [_element(spec.datatype), "array"]} if is_input else {"type": _element(spec.datatype)}
    properties: JsonObject = {
        "name": one_of(spec.name),
        "shape": shape,
        "datatype": one_of(spec.datatype),
        "parameters": _parameters(),
    }
    found: JsonObject = {"type": "object", "required": ["name", "shape", "datatype"]}
    if not in_json:
        return found | {"properties": properties, "required": ["name", "shape", "datatype", "parameters"]}
    either = [{"required": ["data"]}, {"required": ["parameters"]}]
    return found | {"properties": properties | {"data": data}, "anyOf": either}


def _element(datatype: str) -> str:
    return _ELEMENTS.get(datatype, "number" if datatype.startswith("FP") else "integer")


def _parameters() -> JsonObject:
    return {"type": "object", "description": "See the protocol; binary_data, binary_data_size, binary_data_output."}


def texts(most_rows: int) -> JsonObject:
    return {"anyOf": [STRING, array_of(STRING, 1, most_rows)]}


def predict_request(field: str, most_rows: int) -> JsonObject:
    scores = BOOLEAN | {"default": False, "description": "Every label's probability, the likeliest first."}
    return record({field: texts(most_rows), "scores": scores}, "scores")


def image_form(most_rows: int) -> JsonObject:
    image: JsonObject = {"type": "string", "format": "binary", "contentMediaType": "application/octet-stream"}
    return record({"image": array_of(image, 1, most_rows), "scores": one_of("true", "false")}, "scores")


def predictions(model: ServedModel) -> JsonObject:
    assert model.classification is not None, "asked for classification models only"
    label = one_of(*dict.fromkeys(model.classification.labels))
    scored = record({"label": label, "confidence": PROBABILITY})
    prediction = record(
        {"label": label, "confidence": PROBABILITY, "scores": array_of(scored, len(model.classification.labels))},
        "scores",
    )
    return {"anyOf": [prediction, array_of(prediction, 1)], "description": "A list where a list was sent."}


def embeddings_request(model: ServedModel, most_rows: int, vocabulary: int | None) -> JsonObject:
    """`vocabulary`: how many token ids there are, where they are accepted."""
    assert model.embedding is not None, "asked for embedding models only"
    inputs = texts(most_rows)
    if vocabulary is not None:
        ids = array_of({"type": "integer", "minimum": 0, "maximum": vocabulary - 1}, 1)
        inputs = {"anyOf": [STRING, array_of(STRING, 1, most_rows), ids, array_of(ids, 1, most_rows)]}
    properties: JsonObject = {
        "input": inputs,
        "model": one_of(model.name),
        "encoding_format": one_of(*openai.ENCODINGS),
        "dimensions": one_of(model.embedding.dimensions, None),
        "user": {"type": ["string", "null"]},
    }
    return record(properties, *(name for name in openai.FIELDS if name != "input"))


def embeddings_reply(model: ServedModel) -> JsonObject:
    assert model.embedding is not None, "asked for embedding models only"
    size = model.embedding.dimensions
    vector: JsonObject = {
        "anyOf": [
            array_of({"type": "number"}, size, size),
            {"type": "string", "contentEncoding": "base64", "description": "Little-endian FP32."},
        ]
    }
    row = record({"object": one_of("embedding"), "index": COUNT, "embedding": vector})
    usage = record({"prompt_tokens": COUNT, "total_tokens": COUNT})
    return record({"object": one_of("list"), "data": array_of(row, 1), "model": one_of(model.name), "usage": usage})


def openai_model(model: ServedModel) -> JsonObject:
    return record({"id": one_of(model.name), "object": one_of("model"), "created": COUNT, "owned_by": STRING})


def model_metadata() -> JsonObject:
    tensor = record({"name": STRING, "datatype": STRING, "shape": array_of({"type": "integer"}, 1)})
    properties = {"name": STRING, "versions": array_of(STRING), "platform": STRING}
    return {
        "type": "object",
        "properties": {**properties, "inputs": array_of(tensor, 1), "outputs": array_of(tensor, 1)},
        "required": [*properties, "inputs", "outputs"],
    }
