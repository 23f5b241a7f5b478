"""What wakes the operator: kopf's watch streams, each event turned into keys of the queue.

Only `index` and `on.event`, because they write nothing to anyone's object. The feed is synced once every object of
every first list is known, so a worker never decides on half of the cluster.
"""

import asyncio
from collections.abc import Mapping
from typing import Any

import kopf

from neuron_operator.canary import Canary
from neuron_operator.cluster import RESOURCES
from neuron_operator.indices import API_SERVICE, CHILD_KINDS, HPA, Indices, Key, Listing, key_of, model_keys, version_of
from neuron_operator.names import KIND
from neuron_operator.nodes import NodeWatch
from neuron_operator.workqueue import WorkQueue

LEASE = "Lease"
WATCHED = (KIND, *CHILD_KINDS, "Pod", "Node", HPA, LEASE, API_SERVICE)
# What models run on and beside, and nobody's in particular.
SURROUNDINGS = ("Node", API_SERVICE)


class Feed:
    """Where events go: the indices first, then the keys of the models they concern into the queue."""

    def __init__(self, indices: Indices, queue: WorkQueue[Key], nodes: NodeWatch) -> None:
        self._indices, self._queue, self._nodes = indices, queue, nodes
        self._unlisted, self._unread = set(WATCHED), set[tuple[str, Key]]()
        self.canary = Canary()
        self.synced = asyncio.Event()
        # Set when a node or a served API becomes known, changes or goes; whoever waits for it clears it.
        self.environment_changed = asyncio.Event()
        self.last_event_at: dict[str, float] = {}

    def know(self, kind: str, body: Mapping[str, Any]) -> None:
        self._read(kind, body)
        if kind == LEASE:
            return
        known = self._indices.get(kind, key_of(body))
        concerned = model_keys(kind, known) if known is not None else set()
        if self._indices.put(kind, body):
            self._wake(kind, concerned | model_keys(kind, body))

    def forget(self, kind: str, body: Mapping[str, Any]) -> None:
        self._read(kind, body)
        if kind == LEASE:
            return
        self._indices.drop(kind, body)
        self._wake(kind, model_keys(kind, body))

    def begin_list(self, kind: str) -> Listing:
        """A list is about to be asked for."""
        return Listing(self._indices.every(kind))

    def expect(self, kind: str, body: Mapping[str, Any]) -> None:
        """The object is on a list; nobody decides before it is known."""
        if not self.synced.is_set():
            self._unread.add((kind, key_of(body)))

    def end_list(self, kind: str) -> None:
        if kind == LEASE:
            self.canary.heard(0, _now())
        self._unlisted.discard(kind)
        self._check_synced()

    def unsynced(self) -> list[str]:
        """The kinds whose first list is not known yet."""
        return sorted({*self._unlisted, *(kind for kind, _ in self._unread)})

    def seen(self, kind: str) -> None:
        self.last_event_at[kind] = _now()

    def _read(self, kind: str, body: Mapping[str, Any]) -> None:
        if kind == LEASE:
            self.canary.heard(version_of(body), _now())
        if not self.synced.is_set():
            self._unread.discard((kind, key_of(body)))
            self._check_synced()

    def _check_synced(self) -> None:
        if not self._unlisted and not self._unread:
            self.synced.set()

    def _wake(self, kind: str, keys: set[Key]) -> None:
        if kind in ("Node", "Pod"):
            self._nodes.changed()
        if kind in SURROUNDINGS:
            self.environment_changed.set()
        for key in keys if kind not in SURROUNDINGS else ():
            # Most autoscalers of a cluster scale what is not ours.
            if kind != HPA or self._indices.get(KIND, key) is not None:
                self._queue.add(key)


def register(registry: kopf.OperatorRegistry, feed: Feed) -> None:
    """One index and one event handler for every kind we watch."""

    async def on_known(body: kopf.Body, param: Any = None, **_: Any) -> None:
        feed.know(param, body)

    async def on_event(event: kopf.RawEvent, param: Any = None, **_: Any) -> None:
        if event["type"] == "DELETED":
            feed.forget(param, event["object"])

    for kind in WATCHED:
        api_version, plural = RESOURCES[kind]
        resource = (*api_version.split("/"), plural)
        kopf.index(*resource, id=f"known-{plural}", param=kind, registry=registry)(on_known)
        kopf.on.event(*resource, id=f"event-{plural}", param=kind, registry=registry)(on_event)


def _now() -> float:
    return asyncio.get_running_loop().time()
