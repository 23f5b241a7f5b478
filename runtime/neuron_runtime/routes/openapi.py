"""/openapi.json: OpenAPI 3.1 of every path in the table of `paths`, for the served model. Pure.

The table names for each path the function here that describes its operation: what it takes, what it gives, and every
status it can answer with. The bodies' schemas are `wire.schemas`'.
"""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol, TypeAlias

from neuron_runtime import __version__
from neuron_runtime.images import FORMATS
from neuron_runtime.served_model import ServedModel
from neuron_runtime.wire import schemas
from neuron_runtime.wire.json_body import JsonObject

JSON, TEXT, BINARY, FORM = "application/json", "text/plain", "application/octet-stream", "multipart/form-data"
HTML = "text/html"
TASK_STATUSES = (400, 408, 413, 429, 500, 503, 504)
CONNECTION_STATUSES = (400, 408, 429, 431, 503)
"""What the connection answers by itself, whatever the path: `http_protocol` has the reasons. Always an Error."""
_ERROR = "#/components/schemas/Error"


@dataclass(frozen=True)
class Facts:
    """What the document is made for. `vocabulary`: how many token ids there are, where they are accepted."""

    model: ServedModel
    max_rows: int
    vocabulary: int | None = None


@dataclass(frozen=True)
class Operation:
    """One operation: content types with their schemas (and examples) of the request and of each status."""

    tag: str
    request: Mapping[str, JsonObject] = field(default_factory=dict)
    replies: Mapping[int, Mapping[str, JsonObject]] = field(default_factory=dict)
    errors: tuple[int, ...] = ()
    parameters: tuple[JsonObject, ...] = ()
    note: str = ""

    @property
    def is_task(self) -> bool:
        return bool(self.parameters)


Describe: TypeAlias = Callable[[Facts], Operation]


class PathRow(Protocol):
    """A row of the table, as far as the document needs it."""

    @property
    def method(self) -> str: ...
    @property
    def template(self) -> str: ...
    @property
    def meaning(self) -> str: ...
    @property
    def operation(self) -> Describe: ...


def document(facts: Facts, table: Iterable[PathRow]) -> JsonObject:
    paths: dict[str, JsonObject] = {}
    for row in table:
        paths.setdefault(row.template, {})[row.method.lower()] = _operation(row, row.operation(facts), facts)
    model = facts.model
    about = f"Serves '{model.name}' {model.version}, {model.kind}, on {model.platform}."
    return {
        "openapi": "3.1.0",
        "info": {"title": "neuron-runtime", "version": __version__, "description": about},
        "paths": paths,
        "components": {"schemas": {"Error": schemas.OIP_ERROR, "OpenAIError": schemas.openai_error()}},
    }


def _operation(row: PathRow, described: Operation, facts: Facts) -> JsonObject:
    name = row.template.strip("/").replace("{", "").replace("}", "").replace("/", "-").replace(".", "-") or "page"
    content: JsonObject = {
        "operationId": f"{row.method.lower()}-{name}",
        "summary": row.meaning,
        "tags": [described.tag],
        "responses": _responses(row, described),
    }
    if described.note:
        content["description"] = described.note
    if parameters := [*_path_parameters(row.template, facts.model), *described.parameters]:
        content["parameters"] = parameters
    if described.request:
        content["requestBody"] = {"required": True, "content": dict(described.request)}
    return content


def _path_parameters(template: str, model: ServedModel) -> list[JsonObject]:
    served = {"model": model.name, "version": model.version}
    return [
        {"name": name, "in": "path", "required": True, "schema": schemas.one_of(value)}
        for name, value in served.items()
        if f"{{{name}}}" in template
    ]


def _responses(row: PathRow, described: Operation) -> JsonObject:
    """Whatever nobody foresaw is 500 on any path; a name in the path can be another model's."""
    own_error: JsonObject = {"$ref": "#/components/schemas/OpenAIError" if row.template.startswith("/v1/") else _ERROR}
    statuses = {*described.replies, *described.errors, *CONNECTION_STATUSES, 500}
    found: JsonObject = {}
    for status in sorted(statuses | ({404} if "{model}" in row.template else set())):
        content = dict(described.replies.get(status) or _json(own_error))
        if status in CONNECTION_STATUSES and content != _json({"$ref": _ERROR}):
            content = {
                kind: {"schema": {"anyOf": [body["schema"], {"$ref": _ERROR}]}} for kind, body in content.items()
            }
        headers = _headers(described, status)
        about = {"description": HTTPStatus(status).phrase, "content": content}
        found[str(status)] = about | ({"headers": headers} if headers else {})
    return found


def _headers(described: Operation, status: int) -> JsonObject:
    """An answer of the connection itself has none of them, so they are certain only where it gives none."""
    if not described.is_task:
        return {}
    certain = status not in (*CONNECTION_STATUSES, 404)
    headers: JsonObject = {"X-Request-Id": {"required": certain, "schema": schemas.STRING}}
    if status == 200:
        headers["Server-Timing"] = {"required": True, "schema": schemas.STRING}
    if status == 429:
        headers["Retry-After"] = {"required": False, "schema": {"type": "string", "pattern": "^[0-9]+$"}}
    return headers


def _json(schema: JsonObject, **examples: object) -> dict[str, JsonObject]:
    """`examples`: whole bodies that this server answers with 200, by name."""
    named = {"examples": {name: {"value": value} for name, value in examples.items()}} if examples else {}
    return {JSON: {"schema": schema, **named}}


def _task(tag: str, request: Mapping[str, JsonObject], reply: Mapping[str, JsonObject], *more: JsonObject) -> Operation:
    seconds: JsonObject = {"type": "number", "exclusiveMinimum": 0}
    parameters: tuple[JsonObject, ...] = (
        _header("X-Request-Id", {"type": "string"}, "Comes back, and stands in the log; made where missing."),
        _header("X-Request-Timeout-Seconds", seconds, "Shortens the server's own deadline."),
        *more,
    )
    return Operation(tag, request, {200: reply}, TASK_STATUSES, parameters)


def _header(name: str, schema: JsonObject, description: str) -> JsonObject:
    return {"name": name, "in": "header", "required": False, "schema": schema, "description": description}


def predict(facts: Facts) -> Operation:
    model = facts.model
    if model.task not in ("TextClassification", "ImageClassification"):
        note = f"This server's model is {model.kind}, so the answer is 400 and says where to ask."
        return Operation("prediction", {}, {}, TASK_STATUSES, _task("", {}, {}).parameters, note)
    reply = _json(schemas.predictions(model))
    if model.task == "TextClassification":
        schema = schemas.predict_request("text", facts.max_rows)
        return _task(
            "prediction", _json(schema, one={"text": "A text."}, many={"text": ["A", "B"], "scores": True}), reply
        )
    request = _json(schemas.predict_request("image", facts.max_rows))
    request[FORM] = {"schema": schemas.image_form(facts.max_rows)}
    file: JsonObject = {"schema": {"type": "string", "format": "binary"}}
    return _task("prediction", request | {f"image/{name.lower()}": file for name in FORMATS}, reply)


def embeddings(facts: Facts) -> Operation:
    model = facts.model
    if model.task != "TextEmbedding":
        note = f"This server's model is {model.kind}, so the answer is 400 and says where to ask."
        return Operation("OpenAI", {}, {}, (*TASK_STATUSES, 404), _task("", {}, {}).parameters, note)
    schema = schemas.embeddings_request(model, facts.max_rows, facts.vocabulary)
    many = {"input": ["A", "B"], "model": model.name, "encoding_format": "base64"}
    task = _task("OpenAI", _json(schema, one={"input": "A text."}, many=many), _json(schemas.embeddings_reply(model)))
    return Operation(task.tag, task.request, task.replies, (*TASK_STATUSES, 404), task.parameters)


def infer(facts: Facts) -> Operation:
    length = _header(
        "Inference-Header-Content-Length",
        {"type": "integer", "minimum": 1},
        "With the binary tensor extension: how many bytes of the body are JSON.",
    )
    binary: dict[str, JsonObject] = {BINARY: {"schema": {"type": "string", "format": "binary"}}}
    example = schemas.infer_example(facts.model)
    request = _json(schemas.infer_request(facts.model), **({"ones": example} if example else {})) | binary
    return _task("inference", request, _json(schemas.infer_reply(facts.model)) | binary, length)


def page(facts: Facts) -> Operation:
    return Operation("page", replies={200: {HTML: {"schema": schemas.STRING}}})


def health(facts: Facts) -> Operation:
    states = schemas.one_of("ok", "unavailable")
    state = schemas.record({"status": states, "model": schemas.one_of(facts.model.name), "reason": schemas.STRING})
    return Operation("health", replies={200: _json(state), 503: _json(state)})


def live(facts: Facts) -> Operation:
    return Operation("health", replies={200: _json(schemas.record({"live": schemas.BOOLEAN}))})


def ready(facts: Facts) -> Operation:
    state = schemas.record({"ready": schemas.BOOLEAN, "error": schemas.STRING}, "error")
    return Operation("health", replies={200: _json(state), 503: _json(state)})


def model_ready(facts: Facts) -> Operation:
    name = schemas.one_of(facts.model.name)
    state = schemas.record({"name": name, "ready": schemas.BOOLEAN, "error": schemas.STRING}, "error")
    return Operation("health", replies={200: _json(state), 503: _json(state)})


def metrics(facts: Facts) -> Operation:
    return Operation("monitoring", replies={200: {TEXT: {"schema": schemas.STRING}}})


def itself(facts: Facts) -> Operation:
    return Operation("metadata", replies={200: _json({"type": "object"})})


def models_list(facts: Facts) -> Operation:
    models = schemas.array_of(schemas.openai_model(facts.model), 1, 1)
    return Operation("OpenAI", replies={200: _json(schemas.record({"object": schemas.one_of("list"), "data": models}))})


def model_entry(facts: Facts) -> Operation:
    return Operation("OpenAI", replies={200: _json(schemas.openai_model(facts.model))})


def server(facts: Facts) -> Operation:
    about = {"name": schemas.STRING, "version": schemas.STRING, "extensions": schemas.array_of(schemas.STRING)}
    return Operation("metadata", replies={200: _json(schemas.record(about))})


def model(facts: Facts) -> Operation:
    return Operation("metadata", replies={200: _json(schemas.model_metadata())})
