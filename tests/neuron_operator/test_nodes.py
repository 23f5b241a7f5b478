"""How old the figures may be that a model without cores is told, and when it is told newer ones."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from fakes.cluster import FakeCluster
from neuron_operator import nodes as watched
from neuron_operator.capacity import Requests
from neuron_operator.indices import Indices, Key
from neuron_operator.nodes import NodeWatch
from neuron_operator.workqueue import WorkQueue
from observed import node

KEY = Key("shop", "sentiment")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CONTAINER = {"resources": {"requests": {"aws.amazon.com/neuroncore": "2"}}}
POD: dict[str, Any] = {
    "metadata": {"name": "other", "namespace": "shop"},
    "spec": {"nodeName": "n1", "containers": [CONTAINER]},
}


class Watched:
    """One node with two cores, read when they were free."""

    def __init__(self) -> None:
        self.cluster, self.queue, indices = FakeCluster(pods={"n1": []}), WorkQueue[Key](), Indices()
        body = node(cores=2)
        body["metadata"]["resourceVersion"] = "1"
        body["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
        indices.put("Node", body)
        self.nodes = NodeWatch(self.cluster, indices, self.queue)

    async def requested(self) -> int:
        requests = (await self.nodes.capacity()).requests or {}
        return requests.get("n1", Requests()).cores

    async def is_woken(self) -> bool:
        try:
            return await asyncio.wait_for(self.queue.take(), 20 * watched.NUDGE_S) == KEY
        except TimeoutError:
            return False


@pytest.fixture
def node_watch(monkeypatch: pytest.MonkeyPatch) -> Watched:
    monkeypatch.setattr(watched, "NUDGE_S", 0.01)
    return Watched()


async def test_who_is_told_figures_older_than_the_last_change_is_told_newer_ones_soon(node_watch: Watched) -> None:
    """The pod that took the cores was placed after the read, and before anybody waited who could have been woken."""
    assert await node_watch.requested() == 0
    node_watch.cluster.pods["n1"].append(POD)
    node_watch.nodes.changed()
    node_watch.nodes.is_waiting(KEY, waits=True)
    assert await node_watch.requested() == 0, "it was read a moment ago"
    assert await node_watch.is_woken()
    assert await node_watch.requested() == 2


async def test_nobody_is_woken_while_the_figures_are_newer_than_the_last_change(node_watch: Watched) -> None:
    node_watch.nodes.changed()
    node_watch.nodes.is_waiting(KEY, waits=True)
    await node_watch.requested()
    assert not await node_watch.is_woken()


class SlowCluster(FakeCluster):
    """Each list takes a moment, in which the pods of the cluster go on changing."""

    at_once = most_at_once = 0

    def __init__(self, count: int) -> None:
        super().__init__(pods={f"n{number}": [] for number in range(count)})
        self.meanwhile: Callable[[], None] = lambda: None

    async def list_pods_on(self, node: str) -> list[dict[str, Any]]:
        self.at_once += 1
        self.most_at_once = max(self.most_at_once, self.at_once)
        await asyncio.sleep(0)
        self.meanwhile()
        self.at_once -= 1
        return []


def slowly_watched(count: int) -> tuple[SlowCluster, NodeWatch]:
    cluster, indices = SlowCluster(count), Indices()
    for number in range(count):
        body = node(f"n{number}", cores=2)
        body["metadata"]["resourceVersion"] = "1"
        body["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
        indices.put("Node", body)
    return cluster, NodeWatch(cluster, indices, WorkQueue[Key]())


async def test_thousands_of_nodes_are_read_a_few_at_a_time() -> None:
    cluster, nodes = slowly_watched(100)
    await nodes.capacity()
    assert cluster.most_at_once == watched.LISTS_AT_ONCE


async def test_planning_ends_also_where_something_changes_during_every_read() -> None:
    cluster, nodes = slowly_watched(3)
    nodes.is_waiting(KEY, waits=True)
    cluster.meanwhile = nodes._wake
    found = await asyncio.wait_for(nodes.outlook(KEY, lambda: NOW), timeout=10)
    assert len(found.nodes) == 3
