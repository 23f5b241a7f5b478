"""The operator as a process: puts the parts together, runs kopf inside, ends within a second or two of SIGTERM.

`python -m neuron_operator run` calls `run`. Nothing else here decides anything.
"""

import asyncio
import logging
import os
import signal
import socket
from contextlib import AsyncExitStack, suppress
from datetime import UTC, datetime
from pathlib import Path

from prometheus_client import CollectorRegistry

from neuron_operator import __version__
from neuron_operator.cluster import ApiCluster
from neuron_operator.gate import Gate
from neuron_operator.handlers import Feed
from neuron_operator.health import Endpoints, Health
from neuron_operator.indices import Indices, Key
from neuron_operator.metrics import Metrics, ModelCollector
from neuron_operator.names import KIND
from neuron_operator.nodes import NodeWatch
from neuron_operator.reconcile import Reconciler
from neuron_operator.settings import Settings
from neuron_operator.watching import watch
from neuron_operator.workers import work
from neuron_operator.workqueue import WorkQueue
from neuron_operator.writes import Writer

logger = logging.getLogger(__name__)


def run(settings: Settings) -> None:
    """Serve until SIGTERM or SIGINT; a second one ends at once."""
    logging.basicConfig(level=settings.log_level.upper(), format="%(asctime)s %(levelname)s %(name)s %(message)s")
    logging.getLogger("kopf").setLevel(max(logging.WARNING, logging.getLogger().level))
    asyncio.run(serve(settings, kubeconfig_path(), asyncio.Event()))


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
    cluster = await ApiCluster.connect(kubeconfig, metrics.observe_request)
    indices, queue, gate = Indices(), WorkQueue[Key](), Gate()
    nodes = NodeWatch(cluster, indices, queue)
    feed = Feed(indices, queue, nodes)
    writer = Writer(cluster, indices, gate, metrics)
    reconciler = Reconciler(indices, writer, nodes, settings, lambda: datetime.now(UTC))
    metrics.registry.register(ModelCollector(lambda: indices.every(KIND)))
    started = asyncio.Event()
    async with AsyncExitStack() as stack:
        stack.push_async_callback(cluster.close)
        stack.callback(queue.close)
        health = Health(queue.oldest_age_s, cluster.serves_models, started.is_set)
        endpoints = Endpoints(health, metrics, lambda: _refresh(metrics, queue, gate, feed))
        stack.push_async_callback(endpoints.stop)
        await endpoints.start(settings.health_port, settings.metrics_port)
        workers = [
            asyncio.create_task(work(queue, gate, reconciler.reconcile, metrics)) for _ in range(settings.workers)
        ]
        opening = asyncio.create_task(_open_when_synced(gate, feed))
        identity = settings.pod_name or socket.gethostname()
        watching = asyncio.create_task(watch(cluster, feed, started, identity, lambda: _stop_on_signals(stop)))
        logger.info("operator %s started with %d workers", __version__, settings.workers)
        await _until(stop, watching, opening, *workers)
    logger.info("operator ended")


async def _until(stop: asyncio.Event, watching: asyncio.Task[None], *others: asyncio.Task[None]) -> None:
    """Run until told to stop; a part that ends by itself takes the process with it, and the kubelet starts another."""
    stopping = asyncio.create_task(stop.wait())
    done, _ = await asyncio.wait({stopping, watching}, return_when=asyncio.FIRST_COMPLETED)
    for task in (stopping, watching, *others):
        task.cancel()
    await asyncio.wait({stopping, watching, *others})
    if watching in done:
        with suppress(asyncio.CancelledError):
            watching.result()
        raise RuntimeError("the watches ended by themselves")


async def _open_when_synced(gate: Gate, feed: Feed) -> None:
    """Without an elector this process is the one that writes, as soon as it knows the cluster."""
    await feed.synced.wait()
    gate.open()


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with suppress(NotImplementedError, RuntimeError, ValueError):
            loop.add_signal_handler(number, stop.set)


def _refresh(metrics: Metrics, queue: WorkQueue[Key], gate: Gate, feed: Feed) -> None:
    """Gauges are read when they are asked for."""
    now = asyncio.get_running_loop().time()
    metrics.queue_depth.set(queue.depth)
    metrics.oldest_key_age.set(queue.oldest_age_s())
    metrics.is_leader.set(gate.is_open)
    for kind, at in feed.last_event_at.items():
        metrics.watch_age.labels(kind).set(now - at)
