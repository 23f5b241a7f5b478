"""Every path this server answers, in one table: the router, /openapi.json and the reference page are made from it.

`Handlers` answers what is not hot: health, metadata, metrics.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from neuron_runtime.errors import UnknownPathError
from neuron_runtime.routes import openapi, page
from neuron_runtime.service import Service
from neuron_runtime.wire import open_inference, openai
from neuron_runtime.wire.json_body import dump


class Handlers:
    def __init__(self, service: Service) -> None:
        self._service = service
        self._page = page.render(service.model)

    async def page(self, request: Request) -> Response:
        return HTMLResponse(self._page.body, headers=self._page.headers)

    async def health(self, request: Request) -> Response:
        now = self._service.readiness()
        document = {"status": "ok" if now.is_ready else "unavailable", "model": self._service.model.name}
        return _json(document | {"reason": now.reason}, 200 if now.is_ready else 503)

    async def live(self, request: Request) -> Response:
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:
        now = self._service.readiness()
        return _json({"ready": True}) if now.is_ready else _json({"ready": False, "error": now.reason}, 503)

    async def server(self, request: Request) -> Response:
        return _json(open_inference.server_metadata())

    async def model(self, request: Request) -> Response:
        self._check_name(request)
        return _json(open_inference.model_metadata(self._service.model))

    async def model_ready(self, request: Request) -> Response:
        self._check_name(request)
        now = self._service.readiness()
        document: dict[str, object] = {"name": self._service.model.name, "ready": now.is_ready}
        return _json(document if now.is_ready else document | {"error": now.reason}, 200 if now.is_ready else 503)

    async def openai_models(self, request: Request) -> Response:
        return _json(openai.models_list(self._service.model, self._service.created))

    async def openai_model(self, request: Request) -> Response:
        self._check_name(request)
        return _json(openai.model_entry(self._service.model, self._service.created))

    async def metrics(self, request: Request) -> Response:
        # Off the loop: hundreds of series take milliseconds, and requests are waiting.
        text = await asyncio.to_thread(generate_latest, self._service.metrics.registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def openapi(self, request: Request) -> Response:
        service = self._service
        encoder = service.encoder if service.settings.accept_token_ids else None
        vocabulary = encoder.vocabulary if encoder is not None else None
        facts = openapi.Facts(service.model, service.admission.max_rows_per_request, vocabulary)
        return _json(openapi.document(facts, PATHS))

    async def unknown_model(self, request: Request) -> Response:
        """Reached only when the path is not, to the letter, one that is answered before the router."""
        self._check_name(request)
        raise UnknownPathError(f"there is nothing at {request.url.path!r}; see GET /openapi.json")

    def _check_name(self, request: Request) -> None:
        served = self._service.model
        name, version = request.path_params.get("model"), request.path_params.get("version", served.version)
        if name != served.name:
            raise UnknownPathError(f"there is no model '{name}' here; this server serves '{served.name}'", "model")
        if version != served.version:
            raise UnknownPathError(
                f"model '{name}' has no version '{version}' here; version '{served.version}' is served"
            )


@dataclass(frozen=True)
class Path:
    """One path of the server; `meaning` is its row on the reference page, `operation` its entry in /openapi.json."""

    method: str
    template: str
    meaning: str
    answer: Callable[[Handlers, Request], Awaitable[Response]]
    operation: openapi.Describe


_MODEL, _VERSION = "/v2/models/{model}", "/v2/models/{model}/versions/{version}"
PATHS = (
    Path(
        "POST",
        "/predict",
        "Texts or images in, label and confidence out; with `scores` every label's.",
        Handlers.unknown_model,
        openapi.predict,
    ),
    Path(
        "POST",
        "/v1/embeddings",
        "A text or a list of texts in, vectors out, as OpenAI's.",
        Handlers.unknown_model,
        openapi.embeddings,
    ),
    Path(
        "POST",
        f"{_MODEL}/infer",
        "Tensors in, tensors out (Open Inference Protocol).",
        Handlers.unknown_model,
        openapi.infer,
    ),
    Path("POST", f"{_VERSION}/infer", "The same, naming the version.", Handlers.unknown_model, openapi.infer),
    Path("GET", "/", "A page to try the model in a browser, and to see how it does.", Handlers.page, openapi.page),
    Path("GET", "/health", "200 while the model is served, else 503 with the reason.", Handlers.health, openapi.health),
    Path("GET", "/metrics", "Every metric, in Prometheus' text format.", Handlers.metrics, openapi.metrics),
    Path("GET", "/openapi.json", "This API as OpenAPI 3.1, for the served model.", Handlers.openapi, openapi.itself),
    Path("GET", "/v1/models", "The served model, in OpenAI's list.", Handlers.openai_models, openapi.models_list),
    Path("GET", "/v1/models/{model}", "The served model, as OpenAI's.", Handlers.openai_model, openapi.model_entry),
    Path("GET", "/v2", "Name and version of the server.", Handlers.server, openapi.server),
    Path("GET", "/v2/health/live", "200 while the process answers.", Handlers.live, openapi.live),
    Path(
        "GET",
        "/v2/health/ready",
        "200 while a worker is ready and the pod is not told to go, else 503.",
        Handlers.ready,
        openapi.ready,
    ),
    Path("GET", _MODEL, "Inputs and outputs of the model.", Handlers.model, openapi.model),
    Path("GET", f"{_MODEL}/ready", "As /v2/health/ready, for this model.", Handlers.model_ready, openapi.model_ready),
    Path("GET", _VERSION, "The same as without a version.", Handlers.model, openapi.model),
    Path("GET", f"{_VERSION}/ready", "The same as without a version.", Handlers.model_ready, openapi.model_ready),
)


def _json(document: object, status: int = 200) -> Response:
    return Response(dump(document), status, media_type="application/json")
