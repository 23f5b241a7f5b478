"""The operator without its process: the real indices, queue, workers and reconcile, fed by a watch that may lag."""

import asyncio
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime

from prometheus_client import CollectorRegistry

from fakes.cluster import Body
from fakes.watched_cluster import WatchedCluster
from neuron_operator.errors import OperatorError
from neuron_operator.gate import Gate
from neuron_operator.handlers import Feed
from neuron_operator.indices import CHILD_KINDS, HPA, Indices, Key
from neuron_operator.metrics import Metrics
from neuron_operator.names import KIND, LABEL_MODEL
from neuron_operator.nodes import NodeWatch
from neuron_operator.reconcile import Reconciler
from neuron_operator.settings import Settings
from neuron_operator.turns import Turns
from neuron_operator.workers import work
from neuron_operator.workqueue import WorkQueue
from neuron_operator.writes import Writer

LABELED = (*CHILD_KINDS, "Pod")
WATCHED = (KIND, *LABELED, "Node", HPA)
WORKERS = 2


@dataclass
class OperatorInMemory:
    """`start` is a new process that knows nothing yet; `held` are the kinds whose events stay on the way.

    `bugs` are the exceptions that no worker should ever see.
    """

    cluster: WatchedCluster
    settings: Settings
    clock: Callable[[], datetime]
    held: set[str] = field(default_factory=set)
    bugs: list[Exception] = field(default_factory=list)
    looks: int = 0
    _on_the_way: dict[str, list[tuple[str, Body]]] = field(default_factory=lambda: defaultdict(list))
    _tasks: list[asyncio.Task[None]] = field(default_factory=list)

    async def start(self) -> None:
        """Workers begin once every first list is known, as in the process."""
        self._loop, self.indices, gate = asyncio.get_running_loop(), Indices(), Gate()
        gate.open()
        self.held.clear()
        self._on_the_way.clear()
        self.queue = queue = WorkQueue[Key](chance=random.Random(0))
        nodes = NodeWatch(self.cluster, self.indices, self.queue)
        self._feed, metrics = Feed(self.indices, self.queue, nodes), Metrics(CollectorRegistry())
        writer = Writer(self.cluster, self.indices, gate, metrics, is_busy=lambda: queue.has_new, excuse=queue.excuse)
        queue.is_new = writer.is_new
        turns = Turns(self.queue.add)
        self._reconciler = Reconciler(self.indices, writer, nodes, self.settings, self.clock, turns)
        self.cluster.told = self._hear
        for kind in WATCHED:
            self._relist(kind)
        self._tasks = [asyncio.create_task(work(self.queue, gate, self._reconcile, metrics)) for _ in range(WORKERS)]

    async def kill(self) -> None:
        """In the middle of whatever it was doing."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self.queue.close()

    def hold(self, kind: str) -> None:
        self.held.add(kind)

    def release(self, kind: str) -> None:
        """What was on the way arrives, in its order."""
        self.held.discard(kind)
        for event, body in self._on_the_way.pop(kind, []):
            self._loop.call_soon(self._deliver, kind, event, body)

    def relist(self, kind: str) -> None:
        """The watch ended and starts with a list: what was on the way is lost, what is gone is found missing."""
        self.held.discard(kind)
        self._on_the_way.pop(kind, None)
        self._loop.call_soon(self._relist, kind)

    def _relist(self, kind: str) -> None:
        listing = self.indices.begin_list(kind)
        for body in self.cluster.every(kind):
            if _is_watched(kind, body):
                listing.saw(body)
                self._deliver(kind, "ADDED", body)
        for body in listing.gone():
            self._deliver(kind, "DELETED", body)

    def has_newest(self, kind: str, key: Key) -> bool:
        """Whether what it knows of the object is all there is to know."""
        known, stored = self.indices.get(kind, key), self.cluster.find(kind, *key)
        versions = [body and body["metadata"]["resourceVersion"] for body in (known, stored)]
        return versions[0] == versions[1]

    async def _reconcile(self, key: Key) -> float | None:
        self.looks += 1
        try:
            return await self._reconciler.reconcile(key)
        except OperatorError:
            raise
        except Exception as bug:
            self.bugs.append(bug)
            raise

    def _hear(self, kind: str, before: Body | None, after: Body | None) -> None:
        was, now = (body is not None and _is_watched(kind, body) for body in (before, after))
        body = after if after is not None else before
        if kind not in WATCHED or body is None or not (was or now):
            return
        event = "ADDED" if not was else "MODIFIED" if now else "DELETED"
        if kind in self.held:
            self._on_the_way[kind].append((event, body))
        else:
            self._loop.call_soon(self._deliver, kind, event, body)

    def _deliver(self, kind: str, event: str, body: Body) -> None:
        if event == "DELETED":
            self._feed.forget(kind, body)
        else:
            self._feed.know(kind, body)


def _is_watched(kind: str, body: Body) -> bool:
    return kind not in LABELED or LABEL_MODEL in body["metadata"].get("labels", {})
