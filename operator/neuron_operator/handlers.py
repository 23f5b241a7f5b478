"""What wakes the operator: each event of the watches, turned into keys of the queue.

`watching.py` tells the feed what kopf's streams deliver. The feed is synced once every first list has ended, so a
worker never decides on half of the cluster, nor on half of a namespace that may be read only later.
"""

import asyncio
from collections import defaultdict
from collections.abc import Hashable, Mapping
from functools import partial
from typing import Any, Final

from neuron_operator.canary import Canary
from neuron_operator.first_lists import FirstLists
from neuron_operator.indices import (
    API_SERVICE,
    HPA,
    Indices,
    Key,
    Listing,
    News,
    key_of,
    model_keys,
    state_of,
    version_of,
)
from neuron_operator.lease import holder_of
from neuron_operator.names import KIND
from neuron_operator.nodes import NodeWatch
from neuron_operator.scope import LEASE, NODE, Scope, Stream
from neuron_operator.workqueue import WorkQueue

# What models run on and beside, and nobody's in particular.
SURROUNDINGS: Final = (NODE, API_SERVICE)
# A pod that starts is told of by scheduler, kubelet and controllers, some ten times within a second. One look at a few
# of them costs what a look at each would.
BURST_S: Final = 0.1
# While models wait for their first look, and pods take their time in the same crowd.
CROWDED_BURST_S: Final = 1.0


class Feed:
    """Where events go: the indices first, then the keys of the models they concern into the queue."""

    def __init__(self, indices: Indices, queue: WorkQueue[Key], nodes: NodeWatch, scope: Scope | None = None) -> None:
        self._indices, self._queue, self._nodes = indices, queue, nodes
        self.scope = scope or Scope()
        self._lists = FirstLists(self.scope.streams)
        self._held: dict[str, set[Key]] = defaultdict(set)
        self._told_at: dict[Stream, float] = {}
        self.canary = Canary()
        self.synced = asyncio.Event()
        # Set when a node or a served API becomes known, changes or goes; whoever waits for it clears it.
        self.environment_changed = asyncio.Event()
        # Set when a Lease of ours is seen that nobody holds; whoever waits for it clears it.
        self.lease_released = asyncio.Event()

    def know(self, kind: str, body: Mapping[str, Any]) -> None:
        if kind == LEASE:
            self._hear(body, is_held=bool(holder_of(body)))
            return
        concerned = set(self._indices.models_of(kind, key_of(body)))
        news = self._indices.put(kind, body)
        if news:
            keys, cause = concerned | model_keys(kind, body), state_of(kind, body)
            self._wake(kind, keys, self._burst_s(kind, news), cause)

    def forget(self, kind: str, body: Mapping[str, Any]) -> None:
        if kind == LEASE:
            self._hear(body)
            return
        self._indices.drop(kind, body)
        self._wake(kind, model_keys(kind, body))

    def begin_list(self, stream: Stream) -> Listing:
        """A list is about to be asked for; what other namespaces have is not missing from it."""
        return self._indices.begin_list(stream.kind, stream.namespace)

    def end_list(self, stream: Stream) -> None:
        """All of the list is known."""
        if stream.kind == LEASE:
            self.canary.heard(0, _now())
        self._lists.listed(stream)
        self._go_on()

    def refuse(self, stream: Stream) -> None:
        """The stream's namespace may not be read, for now or any more: the others go on without it."""
        self._lists.refuse(stream)
        self._told_at.pop(stream, None)
        self._go_on()

    def holds(self, key: Key) -> bool:
        """Whether nothing may be decided on the model, because its namespace can't be read; it is woken once it can."""
        if self.reads(key):
            return False
        self._held[key.namespace].add(key)
        return True

    def reads(self, key: Key) -> bool:
        """Whether the model's namespace may be read, and all of it is known."""
        return self._lists.are_complete_in(key.namespace)

    def unsynced(self) -> list[str]:
        """Whose first list is not known yet."""
        return sorted(map(str, self._lists.missing))

    def readable_namespaces(self) -> list[str]:
        """Where models may be asked for; the empty name means everywhere."""
        refused = self._lists.refused_namespaces
        return [namespace for namespace in self.scope.asked_namespaces if namespace not in refused]

    def told(self, stream: Stream) -> None:
        self._told_at[stream] = _now()

    def silence_s(self) -> dict[str, float]:
        """For how long the watches of a kind have told nothing; of several, the one that is silent for longest."""
        return {kind: _now() - min(at for of, at in self._told_at.items() if of.kind == kind) for kind in self._kinds()}

    def _hear(self, lease: Mapping[str, Any], *, is_held: bool = True) -> None:
        self.canary.heard(version_of(lease), _now())
        if not is_held:
            self.lease_released.set()

    def _burst_s(self, kind: str, news: News) -> float:
        """How long others of the same burst are waited for; whatever comes in none, somebody meant it."""
        if kind != "Pod" and not (kind == "Deployment" and news is News.STATUS):
            return 0.0
        return CROWDED_BURST_S if self._queue.has_new else BURST_S

    def _kinds(self) -> set[str]:
        return {stream.kind for stream in self._told_at}

    def _go_on(self) -> None:
        """With whatever is complete by now."""
        if not self.synced.is_set() and not self._lists.missing:
            self.synced.set()
        for namespace in [held for held in self._held if self._lists.are_complete_in(held)]:
            for key in self._held.pop(namespace):
                self._queue.add(key)

    def _wake(self, kind: str, keys: set[Key], in_s: float = 0.0, cause: Hashable = None) -> None:
        if kind in (NODE, "Pod"):
            self._nodes.changed()
        if kind in SURROUNDINGS:
            self.environment_changed.set()
            return
        for key in filter(partial(self._is_to_be_looked_at, kind), keys):
            if in_s:
                self._queue.add_soon(key, in_s)
            else:
                self._queue.add(key, cause)

    def _is_to_be_looked_at(self, kind: str, key: Key) -> bool:
        """Most autoscalers of a cluster scale what is not ours."""
        return (kind != HPA or self._indices.get(KIND, key) is not None) and not self.holds(key)


def _now() -> float:
    return asyncio.get_running_loop().time()
