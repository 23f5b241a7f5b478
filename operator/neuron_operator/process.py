"""The operator as a process: puts the parts together, runs kopf inside, ends within a second or two of SIGTERM.

`python -m neuron_operator run` calls `run`. Nothing else here decides anything.
"""

import asyncio
import logging
import os
import secrets
import signal
import socket
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import uvloop
from prometheus_client import CollectorRegistry

from neuron_operator import __version__
from neuron_operator.access import serves_models
from neuron_operator.cluster import ApiCluster
from neuron_operator.elector import Alone, Elector, Leases
from neuron_operator.gate import Gate
from neuron_operator.handlers import Feed
from neuron_operator.health import Endpoints, Health, newest_renewal
from neuron_operator.indices import Indices, Key
from neuron_operator.metrics import Metrics, ModelCollector
from neuron_operator.names import KIND
from neuron_operator.nodes import NodeWatch
from neuron_operator.preflight.watch import PreflightWatch
from neuron_operator.reconcile import Reconciler
from neuron_operator.scope import Scope
from neuron_operator.settings import Settings
from neuron_operator.turns import Turns
from neuron_operator.watching import watch
from neuron_operator.workers import work
from neuron_operator.workqueue import WorkQueue
from neuron_operator.writes import Writer

logger = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends at once."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))
    uvloop.run(serve(settings, kubeconfig_path(), asyncio.Event()))


def kubeconfig_path() -> Path | None:
    """KUBECONFIG, else the pod's service account, else the user's own file."""
    given = os.environ.get("KUBECONFIG")
    if given:
        return Path(given)
    return None if "KUBERNETES_SERVICE_HOST" in os.environ else Path.home() / ".kube" / "config"


async def serve(settings: Settings, kubeconfig: Path | None, stop: asyncio.Event) -> None:
    """The whole operator, until `stop` is set."""
    _stop_on_signals(stop)
    metrics = Metrics(CollectorRegistry())
    identity = settings.pod_name or socket.gethostname()
    cluster = await ApiCluster.connect(kubeconfig, metrics.observe_request, identity)
    indices, gate = Indices(), Gate()
    queue = WorkQueue[Key]()
    scope = Scope.of(settings)
    nodes = NodeWatch(cluster, indices, queue, can_read=scope.reads_nodes)
    feed = Feed(indices, queue, nodes, scope)
    writer = Writer(cluster, indices, gate, metrics, is_busy=lambda: queue.has_new, excuse=queue.excuse)
    queue.is_new = writer.is_new
    turns = Turns(queue.add, feed.reads)
    reconciler = Reconciler(indices, writer, nodes, settings, lambda: datetime.now(UTC), turns)
    metrics.registry.register(ModelCollector(lambda: indices.every(KIND)))
    async with AsyncExitStack() as stack:
        stack.push_async_callback(cluster.close)
        stack.callback(queue.close)
        newest = partial(newest_renewal, cluster, scope.lease_namespace)
        stuck_s, api_answers = partial(_stuck_s, queue, gate), partial(_api_answers, cluster, feed)
        health = Health(stuck_s, api_answers, feed.unsynced, feed.canary, newest)
        endpoints = Endpoints(health, metrics, lambda: _refresh(metrics, queue, gate, feed, turns))
        stack.push_async_callback(endpoints.stop)
        await endpoints.start(settings.health_port, settings.metrics_port)
        reconcile = partial(_reconcile_as_leader, gate, feed, reconciler)
        workers = [asyncio.create_task(work(queue, gate, reconcile, metrics)) for _ in range(settings.workers)]
        candidate = _candidate(settings, cluster, gate, identity, feed.lease_released)
        leading = asyncio.create_task(_lead_when_synced(candidate, feed))
        watching = asyncio.create_task(watch(cluster, feed, metrics, identity, lambda: _stop_on_signals(stop)))
        preflight = PreflightWatch(cluster, indices, gate, metrics, settings, lambda: datetime.now(UTC))
        workers += _checking(preflight, feed, scope)
        logger.info("operator %s started with %d workers", __version__, settings.workers)
        await _until(stop, Parts(watching, leading, workers), candidate.release)
    logger.info("operator ended")


@dataclass(frozen=True)
class Parts:
    """What runs beside each other as long as the process lives."""

    watching: asyncio.Task[None]
    leading: asyncio.Task[None]
    workers: Sequence[asyncio.Task[None]]


async def _until(stop: asyncio.Event, parts: Parts, release: Callable[[], Awaitable[None]]) -> None:
    """Run until told to stop; a part that ends by itself takes the process with it, and the kubelet starts another."""
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({stopping, parts.watching, parts.leading}, return_when=asyncio.FIRST_COMPLETED)
    # The lease goes as soon as nothing writes any more: another replica need not wait for kopf, which ends slowly.
    await _cancel(stopping, parts.leading, *parts.workers)
    await release()
    await _cancel(parts.watching)
    for part, name in ((parts.watching, "watches"), (parts.leading, "elector")):
        if part in done:
            with suppress(asyncio.CancelledError):
                part.result()
            raise RuntimeError(f"the {name} ended by itself")


async def _cancel(*tasks: asyncio.Task[Any]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


def _checking(preflight: PreflightWatch, feed: Feed, scope: Scope) -> list[asyncio.Task[None]]:
    """The preflight checks need the whole cluster; without them models are served just as well."""

    def tell_end(task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            logger.error("the preflight checks ended by themselves", exc_info=task.exception())

    if scope.namespaces or not scope.reads_nodes:
        return []
    task = asyncio.create_task(preflight.run(feed.synced, feed.environment_changed))
    task.add_done_callback(tell_end)
    return [task]


def _candidate(
    settings: Settings, leases: Leases, gate: Gate, identity: str, released: asyncio.Event
) -> Elector | Alone:
    """Under a name of its own: a container that starts again in the same pod is another holder."""
    if not settings.leader_election:
        return Alone(gate)
    holder = f"{identity}-{secrets.token_hex(4)}"
    return Elector(leases, gate, holder, settings.lease_namespace, lambda: datetime.now(UTC), released)


async def _lead_when_synced(candidate: Elector | Alone, feed: Feed) -> None:
    """Who does not know the cluster yet would lead without acting, and keep one that does from it."""
    await feed.synced.wait()
    await candidate.run()


async def _reconcile_as_leader(gate: Gate, feed: Feed, reconciler: Reconciler, key: Key) -> float | None:
    """A worker may have waited for its key since before the lease was lost, or the rights to the model's namespace:
    nothing may be decided either then."""
    gate.ensure_open()
    return None if feed.holds(key) else await reconciler.reconcile(key)


async def _api_answers(cluster: ApiCluster, feed: Feed) -> bool:
    return await serves_models(cluster, feed.readable_namespaces())


def _oldest_age_s(queue: WorkQueue[Key], gate: Gate) -> float:
    """The keys of a standby wait for no worker: they grow old from the moment it leads."""
    return min(queue.oldest_age_s(), gate.open_for_s())


def _stuck_s(queue: WorkQueue[Key], gate: Gate) -> float:
    return min(queue.stuck_s(), gate.open_for_s())


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop.set)


def _refresh(metrics: Metrics, queue: WorkQueue[Key], gate: Gate, feed: Feed, turns: Turns) -> None:
    """Gauges are read when they are asked for."""
    metrics.queue_depth.set(queue.depth)
    metrics.oldest_key_age.set(_oldest_age_s(queue, gate))
    metrics.is_leader.set(gate.is_open)
    metrics.upgrades_waiting.set(turns.waiting if gate.is_open else 0)
    for kind, silence_s in feed.silence_s().items():
        metrics.watch_age.labels(kind).set(silence_s)
