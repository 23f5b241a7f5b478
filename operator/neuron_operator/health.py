"""The HTTP endpoints for the kubelet and for Prometheus: /healthz, /readyz and /metrics.

Liveness fails only when restarting could help: a key is stuck although the API server answers. An API server that can't
be reached fails readiness alone, because a restart would only lose what is known.
"""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from neuron_operator.errors import ApiError
from neuron_operator.metrics import Metrics

STUCK_S: Final = 120.0
HOST: Final = "0.0.0.0"  # noqa: S104 - the kubelet and Prometheus come from outside the pod


@dataclass(frozen=True)
class Health:
    """What the answers are made of: the age of the oldest key, and a question to the API server."""

    oldest_key_age_s: Callable[[], float]
    api_answers: Callable[[], Awaitable[bool]]
    is_started: Callable[[], bool]

    async def liveness(self) -> str | None:
        """What is wrong with this process; None when nothing is."""
        age_s = self.oldest_key_age_s()
        if age_s > STUCK_S and await self._reachable():
            return f"a model waits for {age_s:.0f} s although the API server answers"
        return None

    async def readiness(self) -> str | None:
        if not self.is_started():
            return "the watches have not started yet"
        return None if await self._reachable() else "the API server does not answer, or does not know NeuronModels"

    async def _reachable(self) -> bool:
        try:
            return await self.api_answers()
        except ApiError:
            return False


class Endpoints:
    """Two small servers; port 0 picks a free one, found in `health_port` and `metrics_port` afterwards."""

    def __init__(self, health: Health, metrics: Metrics, refresh: Callable[[], None]) -> None:
        self._health, self._metrics, self._refresh = health, metrics, refresh
        self._runners: list[web.AppRunner] = []
        self.health_port = self.metrics_port = 0

    async def start(self, health_port: int, metrics_port: int) -> None:
        probes = {"/healthz": self._health.liveness, "/readyz": self._health.readiness}
        routes = [web.get(path, _probe(check)) for path, check in probes.items()]
        self.health_port = await self._serve(routes, health_port)
        self.metrics_port = await self._serve([web.get("/metrics", self._render)], metrics_port)

    async def stop(self) -> None:
        await asyncio.gather(*(runner.cleanup() for runner in self._runners))

    async def _serve(self, routes: list[web.RouteDef], port: int) -> int:
        app = web.Application()
        app.add_routes(routes)
        runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await runner.setup()
        self._runners.append(runner)
        await web.TCPSite(runner, HOST, port).start()
        return int(runner.addresses[0][1])

    async def _render(self, _: web.Request) -> web.Response:
        self._refresh()
        text = generate_latest(self._metrics.registry)
        return web.Response(body=text, headers={"Content-Type": CONTENT_TYPE_LATEST})


def _probe(check: Callable[[], Awaitable[str | None]]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        problem = await check()
        return web.Response(text=problem or "ok", status=503 if problem else 200)

    return answer
