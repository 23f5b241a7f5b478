"""Reads what the pods of everyone hold and want of the Neuron nodes, and wakes the models that wait for cores.

The reconcile asks only while one of its pods has no node or a rollout is to be planned; the answer is kept for a few
seconds and shared by all models. Without the right to read nodes it asks for nothing and knows nothing. The ledger of
promised cores is kept beside it, because the two must fit together.
"""

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from typing import Any, Final

from neuron_operator.capacity import Capacity, Requests, has_stale_map, is_neuron_node
from neuron_operator.claims import Claim, claims_of
from neuron_operator.cluster import Cluster
from neuron_operator.errors import ApiError
from neuron_operator.indices import Indices, Key
from neuron_operator.ledger import Ledger
from neuron_operator.observe import ObservedNode, observe_node
from neuron_operator.rollout import Decision, Outlook
from neuron_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)

KEPT_S: Final = 5.0
# As long as that, once one of the watched pods or a node has changed since.
KEPT_AFTER_CHANGE_S: Final = 1.0
# Of many changes at once, such as a rollout of a hundred pods, the waiting models see one.
NUDGE_S: Final = 1.0
# The scheduler extension notes a pod before it has its node, and forgets it after it is gone.
SETTLED_S: Final = 3.0
# There may be thousands of nodes, and the elector's renewals go over the same connections.
LISTS_AT_ONCE: Final = 16
# What the API server lists under the empty name: pods that have no node yet.
NO_NODE: Final = ""


class NodeWatch:
    """Capacity on demand, and the set of models to look at again when it changes."""

    def __init__(self, cluster: Cluster, indices: Indices, queue: WorkQueue[Key], *, can_read: bool = True) -> None:
        self._cluster, self._indices, self._queue = cluster, indices, queue
        self._can_read = can_read
        self._waiting: set[Key] = set()
        self._nudge: asyncio.TimerHandle | None = None
        self._ledger = Ledger()
        self._claims: tuple[Claim, ...] | ApiError = ()
        self._read_nodes: set[tuple[str, str]] = set()
        self._read_at = self._outdated_at = self._changed_at = self._unpromised_at = float("-inf")
        self._reading = asyncio.Lock()
        self._judged: set[str] = set()
        self._disputed_since: dict[str, float] = {}

    async def capacity(self) -> Capacity:
        """The Neuron nodes and what is asked of them, at most a few seconds old."""
        if not self._can_read:
            return Capacity(knows_nodes=False)
        nodes = self._neuron_nodes()
        try:
            claims = await self._read_claims(nodes)
        except ApiError as error:
            logger.warning("the pods of the Neuron nodes can't be read; messages go without figures: %s", error)
            return Capacity(nodes, None)
        if self._read_at <= self._changed_at:
            # What is kept is older than what the watches have told since: whoever waits is told the truth soon.
            self._wake_soon()
        held = {node.name: [claim for claim in claims if claim.node == node.name] for node in nodes}
        requests = {
            name: Requests(sum(claim.cores for claim in there), sum(claim.devices for claim in there))
            for name, there in held.items()
        }
        return Capacity(self._with_settled_maps(nodes, requests), requests)

    async def outlook(self, key: Key, clock: Callable[[], datetime]) -> Outlook:
        """What a rollout of the model is planned on. Nothing may be awaited until `settle` has noted its outcome."""
        if not self._can_read:
            return Outlook((), (), self._ledger.others(key), clock(), knows_nodes=False)
        while True:
            nodes = self._neuron_nodes()
            claims = await self._read_claims(nodes)
            # A promise ends when its pod is seen on a node, which what was read before does not show.
            if self._read_at > self._unpromised_at:
                return Outlook(nodes, claims, self._ledger.others(key), clock())

    def settle(self, key: Key, decision: Decision | None, awaited_revision: str) -> None:
        """Note the cores that a surge was promised, or that its pod is no longer awaited."""
        if decision is not None and decision.look_again_s is None:
            logger.info("rollout model=%s/%s strategy=%s reason=%s", *key, decision.strategy, decision.reason)
        if self._ledger.settle(key, decision.promise if decision is not None else None, awaited_revision):
            self._outdated_at = self._unpromised_at = _now()

    def forget(self, key: Key) -> None:
        """The model is gone, and with it whatever it waited for."""
        self.is_waiting(key, waits=False)
        self.settle(key, None, "")

    def is_waiting(self, key: Key, *, waits: bool) -> None:
        """Whether the model is to be woken when nodes or pods change."""
        if waits:
            self._waiting.add(key)
        else:
            self._waiting.discard(key)

    def changed(self) -> None:
        """A node changed or a pod came, went or was placed: soon, look again at every model that waits."""
        self._changed_at = _now()
        self._wake_soon()

    def _wake_soon(self) -> None:
        if self._waiting and self._nudge is None:
            self._nudge = asyncio.get_running_loop().call_later(NUDGE_S, self._wake)

    def _wake(self) -> None:
        self._nudge, self._outdated_at = None, _now()
        for key in self._waiting:
            self._queue.add(key)

    def _neuron_nodes(self) -> tuple[ObservedNode, ...]:
        return tuple(filter(is_neuron_node, map(observe_node, self._indices.every("Node"))))

    def _with_settled_maps(
        self, nodes: Sequence[ObservedNode], requests: Mapping[str, Requests]
    ) -> tuple[ObservedNode, ...]:
        """Without the usage maps that hold too much only since a moment ago: who waits looks again when it has passed.

        One that did so when its node was first looked at may have for long, and counts: a restart changes no status.
        """
        now, judged = _now(), self._judged
        first = {name: now if name in judged else float("-inf") for name in requests}
        stale = [node.name for node in nodes if has_stale_map(node, requests[node.name])]
        self._disputed_since = {name: self._disputed_since.get(name, first[name]) for name in stale}
        self._judged = set(requests)
        young = {name for name, since in self._disputed_since.items() if now - since < SETTLED_S}
        if young:
            asyncio.get_running_loop().call_later(SETTLED_S, self.changed)
        return tuple(replace(node, core_usage="") if node.name in young else node for node in nodes)

    async def _read_claims(self, nodes: Sequence[ObservedNode]) -> tuple[Claim, ...]:
        """Of the pods on these nodes and of those that have none yet."""
        seen = {(node.name, node.core_usage) for node in nodes if node.allocatable_cores}
        async with self._reading:
            kept_s = KEPT_S if self._read_at > self._changed_at else KEPT_AFTER_CHANGE_S
            is_outdated = self._read_at <= self._outdated_at or _now() - self._read_at > kept_s
            # A node that has only now told of its cores may have pods on them already, and one whose usage map has
            # changed has other pods: held against older ones, the map would look stale.
            if is_outdated or not seen <= self._read_nodes:
                # From its start: what changes while it is read may not be in it.
                self._read_at, self._read_nodes = _now(), seen
                self._claims = await self._ask(sorted(name for name, _ in seen))
        if isinstance(self._claims, ApiError):
            raise self._claims
        return self._claims

    async def _ask(self, nodes: Sequence[str]) -> tuple[Claim, ...] | ApiError:
        turns = asyncio.Semaphore(LISTS_AT_ONCE)

        async def pods_on(node: str) -> list[dict[str, Any]]:
            async with turns:
                return await self._cluster.list_pods_on(node)

        try:
            pods = await asyncio.gather(*map(pods_on, (*nodes, NO_NODE)))
        except ApiError as error:
            return error
        return claims_of(pod for found in pods for pod in found)


def _now() -> float:
    return asyncio.get_running_loop().time()
