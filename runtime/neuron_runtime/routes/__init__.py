"""The ASGI application: hot paths are looked up here directly, Starlette routes the rest of `paths.PATHS`."""

from functools import partial

from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.routing import Route, Router

from neuron_runtime.routes.exchange import CLOSE, Message, Receive, Scope, Send
from neuron_runtime.routes.failures import HANDLERS
from neuron_runtime.routes.paths import PATHS, Handlers, Path
from neuron_runtime.routes.task_endpoint import TaskEndpoint
from neuron_runtime.routes.tasks import EMBEDDINGS, INFER, predict_api
from neuron_runtime.service import Service

__all__ = ["PATHS", "Path", "Routes"]


class Routes:
    def __init__(self, service: Service) -> None:
        self._service = service
        model = f"/v2/models/{service.model.name}"
        infer = TaskEndpoint(service, INFER)
        self._hot = {
            f"{model}/infer": infer,
            f"{model}/versions/{service.model.version}/infer": infer,
            "/predict": TaskEndpoint(service, predict_api(service)),
            "/v1/embeddings": TaskEndpoint(service, EMBEDDINGS),
        }
        # uvicorn would answer plain text to what nobody foresaw.
        self._rest = ExceptionMiddleware(_quiet_routes(service), HANDLERS)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "POST":
            endpoint = self._hot.get(scope["path"])
            if endpoint is not None:
                await endpoint(scope, receive, send)
                return
        scope["app"] = self  # Starlette's router then raises for unknown paths, which `failures` puts into words
        await self._rest(scope, receive, self._closing(send) if self._service.is_draining else send)

    @staticmethod
    def _closing(send: Send) -> Send:
        async def send_and_close(message: Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message["headers"], CLOSE]
            await send(message)

        return send_and_close


def _quiet_routes(service: Service) -> Router:
    """Every path; a POST comes here only when its model or version is not the served one.

    A slash too many is told as an unknown path: a redirect would be one more answer that every client has to know.
    """
    handlers = Handlers(service)
    routes = [Route(path.template, partial(path.answer, handlers), methods=[path.method]) for path in PATHS]
    return Router(routes, redirect_slashes=False)
