"""Every path this server answers. The hot ones are looked up here directly, Starlette routes the rest."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from functools import partial

from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router

from neuron_runtime.errors import UnknownPathError
from neuron_runtime.routes.exchange import CLOSE, Message, Receive, Scope, Send
from neuron_runtime.routes.failures import Failures
from neuron_runtime.routes.task_endpoint import TaskEndpoint
from neuron_runtime.routes.tasks import EMBEDDINGS, INFER, PREDICT
from neuron_runtime.service import Service
from neuron_runtime.wire import open_inference, openai
from neuron_runtime.wire.json_body import dump


class Routes:
    """The ASGI application."""

    def __init__(self, service: Service) -> None:
        self._service = service
        model = f"/v2/models/{service.model.name}"
        infer = TaskEndpoint(service, INFER)
        self._hot = {
            f"{model}/infer": infer,
            f"{model}/versions/{service.model.version}/infer": infer,
            "/predict": TaskEndpoint(service, PREDICT),
            "/v1/embeddings": TaskEndpoint(service, EMBEDDINGS),
        }
        self._rest = _quiet_routes(service)
        # uvicorn would answer plain text to what nobody foresaw.
        self._guarded = ExceptionMiddleware(self._route, Failures(self._count_unexpected).handlers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        scope["app"] = self  # Starlette's router then raises for unknown paths, which `failures` puts into words
        await self._guarded(scope, receive, send)

    async def _route(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            endpoint = self._hot.get(scope["path"])
            if endpoint is not None:
                await endpoint(scope, receive, send)
                return
        await self._rest(scope, receive, self._closing(send) if self._service.is_draining else send)

    def _count_unexpected(self, path: str, status: int) -> None:
        endpoint = self._hot.get(path)
        if endpoint is not None:
            endpoint.count(status)

    @staticmethod
    def _closing(send: Send) -> Send:
        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], CLOSE]
            await send(message)

        return send_and_close


class Handlers:
    """The endpoints that are not hot: health, metadata, metrics."""

    def __init__(self, service: Service) -> None:
        self._service = service

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

    async def metrics(self, request: Request) -> Response:
        # Off the loop: hundreds of series take milliseconds, and requests are waiting.
        text = await asyncio.to_thread(generate_latest, self._service.metrics.registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    async def unknown_model(self, request: Request) -> Response:
        """Reached only when the path's model or version is not the served one."""
        self._check_name(request)
        raise AssertionError("a POST to a served path is answered before the router")

    def _check_name(self, request: Request) -> None:
        served = self._service.model
        name, version = request.path_params.get("model"), request.path_params.get("version", served.version)
        if name != served.name:
            raise UnknownPathError(f"there is no model '{name}' here; this server serves '{served.name}'")
        if version != served.version:
            raise UnknownPathError(
                f"model '{name}' has no version '{version}' here; version '{served.version}' is served"
            )


@dataclass(frozen=True)
class Path:
    """One path of the server; `meaning` is its row on the reference page."""

    method: str
    template: str
    meaning: str
    answer: Callable[[Handlers, Request], Awaitable[Response]]


PATHS = (
    Path("POST", "/predict", "A text or a list of texts in, label and confidence out.", Handlers.unknown_model),
    Path("POST", "/v1/embeddings", "A text or a list of texts in, vectors out, as OpenAI's.", Handlers.unknown_model),
    Path(
        "POST", "/v2/models/{model}/infer", "Tensors in, tensors out (Open Inference Protocol).", Handlers.unknown_model
    ),
    Path(
        "POST", "/v2/models/{model}/versions/{version}/infer", "The same, naming the version.", Handlers.unknown_model
    ),
    Path("GET", "/health", "200 while the model is served, else 503 with the reason.", Handlers.health),
    Path("GET", "/metrics", "Every metric, in Prometheus' text format.", Handlers.metrics),
    Path("GET", "/v1/models", "The served model, in OpenAI's list.", Handlers.openai_models),
    Path("GET", "/v2", "Name and version of the server.", Handlers.server),
    Path("GET", "/v2/health/live", "200 while the process answers.", Handlers.live),
    Path(
        "GET",
        "/v2/health/ready",
        "200 while a worker is ready and the pod is not told to go, else 503.",
        Handlers.ready,
    ),
    Path("GET", "/v2/models/{model}", "Inputs and outputs of the model.", Handlers.model),
    Path("GET", "/v2/models/{model}/ready", "As /v2/health/ready, for this model.", Handlers.model_ready),
    Path("GET", "/v2/models/{model}/versions/{version}", "The same as without a version.", Handlers.model),
    Path("GET", "/v2/models/{model}/versions/{version}/ready", "The same as without a version.", Handlers.model_ready),
)


def _quiet_routes(service: Service) -> Router:
    """Every path; a POST comes here only when its model or version is not the served one."""
    handlers = Handlers(service)
    return Router([Route(path.template, partial(path.answer, handlers), methods=[path.method]) for path in PATHS])


def _json(document: object, status: int = 200) -> Response:
    return Response(dump(document), status, media_type="application/json")
