"""Reads what the pods of everyone ask for on the Neuron nodes, and wakes the models that wait for cores.

The reconcile asks for the capacity only while one of its pods has no node; the answer is kept for a few seconds and
shared by all models that wait.
"""

import asyncio
import logging
from collections.abc import Mapping
from typing import Final

from neuron_operator.capacity import CORES_PER_DEVICE, Capacity, Requests, requests_of
from neuron_operator.cluster import Cluster
from neuron_operator.errors import ApiError
from neuron_operator.indices import Indices, Key
from neuron_operator.observe import ObservedNode, observe_node
from neuron_operator.workqueue import WorkQueue

logger = logging.getLogger(__name__)

KEPT_S: Final = 5.0
# Of many changes at once, such as a rollout of a hundred pods, the waiting models see one.
NUDGE_S: Final = 1.0


class NodeWatch:
    """Capacity on demand, and the set of models to look at again when it changes."""

    def __init__(self, cluster: Cluster, indices: Indices, queue: WorkQueue[Key]) -> None:
        self._cluster, self._indices, self._queue = cluster, indices, queue
        self._waiting: set[Key] = set()
        self._nudge: asyncio.TimerHandle | None = None
        self._requests: Mapping[str, Requests] | None = None
        self._read_at = self._outdated_at = float("-inf")
        self._reading = asyncio.Lock()

    async def capacity(self) -> Capacity:
        """The Neuron nodes and what is asked of them, at most a few seconds old."""
        nodes = tuple(observe_node(body) for body in self._indices.every("Node"))
        neuron_nodes = tuple(node for node in nodes if node.instance_type in CORES_PER_DEVICE or node.allocatable_cores)
        async with self._reading:
            if self._read_at <= self._outdated_at or _now() - self._read_at > KEPT_S:
                # From its start: what changes while it is read may not be in it.
                self._read_at = _now()
                self._requests = await self._read([node for node in neuron_nodes if node.allocatable_cores])
        return Capacity(neuron_nodes, self._requests)

    def is_waiting(self, key: Key, *, waits: bool) -> None:
        """Whether the model is to be woken when nodes or pods change."""
        if waits:
            self._waiting.add(key)
        else:
            self._waiting.discard(key)

    def changed(self) -> None:
        """A node changed or a pod came, went or was placed: soon, look again at every model that waits."""
        if self._waiting and self._nudge is None:
            self._nudge = asyncio.get_running_loop().call_later(NUDGE_S, self._wake)

    def _wake(self) -> None:
        self._nudge, self._outdated_at = None, _now()
        for key in self._waiting:
            self._queue.add(key)

    async def _read(self, nodes: list[ObservedNode]) -> Mapping[str, Requests] | None:
        try:
            pods = await asyncio.gather(*(self._cluster.list_pods_on(node.name) for node in nodes))
        except ApiError as error:
            logger.warning("the pods of the Neuron nodes can't be read; messages go without figures: %s", error)
            return None
        return {node.name: requests_of(found) for node, found in zip(nodes, pods, strict=True)}


def _now() -> float:
    return asyncio.get_running_loop().time()
