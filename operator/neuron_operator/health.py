"""The HTTP endpoints for the kubelet and for Prometheus: /healthz, /readyz and /metrics.

Liveness fails only when restarting could help: a key is stuck although the API server answers, or a watch is deaf to
what a direct read shows. An API server that can't be reached fails readiness alone, because a restart would only lose
what is known.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

from neuron_operator.canary import Canary
from neuron_operator.cluster import ApiCluster
from neuron_operator.errors import ApiError
from neuron_operator.indices import version_of
from neuron_operator.metrics import Metrics
from neuron_operator.names import LABEL_ELECTOR
from neuron_operator.scope import LEASE

STUCK_S: Final = 120.0
LONGEST_SILENCE_S: Final = 180.0
HOST: Final = "0.0.0.0"  # noqa: S104 - the kubelet and Prometheus come from outside the pod


@dataclass(frozen=True)
class Health:
    """What the answers are made of: how long the queue stands still, what the watches say, questions to the API
    server."""

    stuck_s: Callable[[], float]
    api_answers: Callable[[], Awaitable[bool]]
    unsynced: Callable[[], Collection[str]]
    canary: Canary
    newest_renewal: Callable[[], Awaitable[int]]
    longest_silence_s: float = LONGEST_SILENCE_S

    async def liveness(self) -> str | None:
        """What is wrong with this process; None when nothing is."""
        stuck_s = self.stuck_s()
        if stuck_s > STUCK_S and await self._reachable():
            return f"no look at a model has ended for {stuck_s:.0f} s although the API server answers"
        silence_s = self.canary.silence_s(asyncio.get_running_loop().time())
        if silence_s > self.longest_silence_s and await self._is_deaf():
            return f"the watch of our Lease is silent for {silence_s:.0f} s although the Lease is renewed"
        return None

    async def readiness(self) -> str | None:
        """Why this process does not know the cluster as it is; whether it leads is no matter."""
        if kinds := self.unsynced():
            return f"the watches have not delivered their first lists yet: {', '.join(kinds)}"
        try:
            return None if await self.api_answers() else "the API server does not know NeuronModels: install the CRD"
        except ApiError as error:
            return f"the API server can't be asked for NeuronModels: {error}"

    async def _is_deaf(self) -> bool:
        """An API server that does not answer shows nothing, and without an elector nobody renews."""
        try:
            return self.canary.has_missed(await self.newest_renewal())
        except ApiError:
            return False

    async def _reachable(self) -> bool:
        try:
            return await self.api_answers()
        except ApiError:
            return False


async def newest_renewal(cluster: ApiCluster, namespace: str) -> int:
    """The version of the Lease as it is now, read past the watches; 0 while there is none."""
    leases = await cluster.list(LEASE, namespace, label_selector=LABEL_ELECTOR)
    return max(map(version_of, leases), default=0)


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
