"""What wakes the operator: kopf's watch streams, each event turned into keys of the queue.

Only `index` and `on.event`, because they write nothing to anyone's object. kopf fills all indices before it calls the
first event handler, so a worker never decides on half of the cluster.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import kopf

from neuron_operator.cluster import RESOURCES
from neuron_operator.indices import CHILD_KINDS, Indices, Key, model_keys
from neuron_operator.names import KIND
from neuron_operator.nodes import NodeWatch
from neuron_operator.workqueue import WorkQueue

WATCHED = (KIND, *CHILD_KINDS, "Pod", "Node")


class Feed:
    """Where events go: the indices first, then the keys of the models they concern into the queue."""

    def __init__(self, indices: Indices, queue: WorkQueue[Key], nodes: NodeWatch) -> None:
        self._indices, self._queue, self._nodes = indices, queue, nodes
        self.synced = asyncio.Event()
        self.last_event_at: dict[str, float] = {}

    def know(self, kind: str, body: Mapping[str, Any]) -> None:
        known = self._indices.get(kind, Key(body["metadata"].get("namespace", ""), body["metadata"]["name"]))
        concerned = model_keys(kind, known) if known is not None else set()
        if self._indices.put(kind, body):
            self._wake(kind, concerned | model_keys(kind, body))

    def forget(self, kind: str, body: Mapping[str, Any]) -> None:
        self._indices.drop(kind, body)
        self._wake(kind, model_keys(kind, body))

    def seen(self, kind: str) -> None:
        self.synced.set()
        self.last_event_at[kind] = asyncio.get_running_loop().time()

    def _wake(self, kind: str, keys: set[Key]) -> None:
        if kind in ("Node", "Pod"):
            self._nodes.changed()
        for key in keys if kind != "Node" else ():
            self._queue.add(key)


def register(registry: kopf.OperatorRegistry, feed: Feed) -> None:
    """One index and one event handler for every kind we watch."""

    async def on_known(body: kopf.Body, param: Any = None, **_: Any) -> None:
        feed.know(param, body)

    async def on_event(event: kopf.RawEvent, param: Any = None, **_: Any) -> None:
        feed.seen(param)
        if event["type"] == "DELETED":
            feed.forget(param, event["object"])

    for kind in WATCHED:
        api_version, plural = RESOURCES[kind]
        resource = (*api_version.split("/"), plural)
        kopf.index(*resource, id=f"known-{plural}", param=kind, registry=registry)(on_known)
        kopf.on.event(*resource, id=f"event-{plural}", param=kind, registry=registry)(on_event)
