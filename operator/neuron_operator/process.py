"""The operator as a process: puts the parts together, runs kopf inside, ends within a second or two of SIGTERM.

`python -m neuron_operator run` calls `run`. Nothing else here decides anything.
"""

import asyncio
import faulthandler
import logging
import os
import signal
import socket
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final, cast

import kopf
from prometheus_client import CollectorRegistry

from neuron_operator import __version__
from neuron_operator.cluster import RESOURCES, ApiCluster
from neuron_operator.errors import ApiError
from neuron_operator.gate import Gate
from neuron_operator.handlers import WATCHED, Feed, register
from neuron_operator.health import Endpoints, Health
from neuron_operator.indices import Indices, Key
from neuron_operator.metrics import Metrics, ModelCollector
from neuron_operator.names import KIND, LABEL_MODEL
from neuron_operator.nodes import NodeWatch
from neuron_operator.reconcile import Reconciler
from neuron_operator.settings import Settings
from neuron_operator.workers import work
from neuron_operator.workqueue import WorkQueue
from neuron_operator.writes import Writer

logger = logging.getLogger(__name__)

POLL_CRD_S: Final = 1.0
LONGEST_END_S: Final = 10.0
# A service account's token lives for an hour; logging in again this often costs one read of a file.
LOGIN_AGAIN: Final = timedelta(minutes=5)


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
        watching = asyncio.create_task(_watch(cluster, feed, started, identity, lambda: _stop_on_signals(stop)))
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


async def _watch(
    cluster: ApiCluster, feed: Feed, started: asyncio.Event, identity: str, take_signals: Callable[[], None]
) -> None:
    """kopf, embedded: it only watches. Starts once the API server knows our kind."""
    await _wait_for_crd(cluster)
    registry = kopf.OperatorRegistry()
    register(registry, feed)

    @kopf.on.login(registry=registry)
    async def login(**_: Any) -> kopf.ConnectionInfo:
        found = await cluster.credentials()
        return kopf.ConnectionInfo(
            server=found.server,
            ca_path=found.ca_path,
            certificate_path=found.certificate_path,
            private_key_path=found.private_key_path,
            token=found.token,
            expiration=datetime.now(UTC) + LOGIN_AGAIN if found.token else None,
        )

    others = asyncio.all_tasks()
    # Left to itself, kopf makes an identity of the user's name, which an arbitrary uid of OpenShift does not have.
    tasks = await kopf.spawn_tasks(
        registry=registry,
        settings=kopf_settings(),
        standalone=True,
        clusterwide=True,
        ready_flag=started,
        identity=cast(Any, identity),
    )
    # kopf has put its own handlers in place of ours; stopping its way takes five seconds.
    take_signals()
    for task in tasks:
        task.add_done_callback(_end_soon)
    await kopf.run_tasks(tasks, ignored=others)


def _end_soon(_: asyncio.Task[Any]) -> None:
    """When a watch fails, kopf may take the credentials from the others, which then ask for them forever and can't be
    canceled: a process that neither works nor ends would not be replaced, so it ends in any case, with a failure."""
    faulthandler.dump_traceback_later(LONGEST_END_S, exit=True)


def kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    _set(settings.posting, enabled=False)
    _set(settings.scanning, disabled=True)
    _set(settings.networking, request_timeout=30.0, connect_timeout=10.0, enforce_retry_after=True)
    # Bookmarks come once a minute, so a stream that says nothing for longer is dead.
    _set(settings.watching, server_timeout=540, client_timeout=570, connect_timeout=10.0, chunk_size=500)
    _set(settings.queueing, idle_timeout=1.0, exit_timeout=0.5)
    for kind in WATCHED:
        if kind not in (KIND, "Node"):
            api_version, plural = RESOURCES[kind]
            settings.watching.label_selectors[f"{api_version}/{plural}"] = LABEL_MODEL
    return settings


def _set(group: Any, **values: Any) -> None:
    """kopf's settings are plain dataclasses, where a misspelled name is silently a new attribute."""
    assert is_dataclass(group), f"{group!r} is not one of kopf's settings"
    known = {field.name for field in fields(group)}
    for name, value in values.items():
        assert name in known, f"kopf has no setting {type(group).__name__}.{name}"
        setattr(group, name, value)


async def _wait_for_crd(cluster: ApiCluster) -> None:
    told = False
    while True:
        try:
            if await cluster.serves_models():
                return
            problem = "the API server does not know NeuronModels: install the CRD"
        except ApiError as error:
            problem = str(error)
        if not told:
            logger.warning("waiting: %s", problem)
        told = True
        await asyncio.sleep(POLL_CRD_S)


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
