"""When a usage map may be called stale: never against older pods, and not while the extension is at work on it."""

import asyncio
from typing import Any

import pytest

from fakes.cluster import FakeCluster
from neuron_operator import nodes as watched
from neuron_operator.capacity import Requests
from neuron_operator.indices import Indices, Key
from neuron_operator.nodes import NodeWatch
from neuron_operator.workqueue import WorkQueue
from observed import node


def mapped(usage: str, version: int) -> dict[str, Any]:
    body = node(cores=2)
    body["metadata"] |= {"resourceVersion": str(version), "annotations": {"NEURON_CORE_USAGE_MAP": usage}}
    body["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
    return body


def pod(name: str) -> dict[str, Any]:
    container = {"resources": {"requests": {"aws.amazon.com/neuroncore": "1"}}}
    return {"metadata": {"name": name, "namespace": "shop"}, "spec": {"nodeName": "n1", "containers": [container]}}


async def test_pods_are_read_again_once_the_map_of_their_node_has_changed() -> None:
    cluster, indices = FakeCluster(pods={"n1": [pod("one")]}), Indices()
    nodes = NodeWatch(cluster, indices, WorkQueue[Key](lambda key: False))
    indices.put("Node", mapped("true,false", 1))
    assert (await nodes.capacity()).requests == {"n1": Requests(cores=1)}
    reads = len(cluster.calls)
    cluster.pods["n1"].append(pod("two"))
    assert (await nodes.capacity()).requests == {"n1": Requests(cores=1)}
    assert len(cluster.calls) == reads, "what was just read is kept while the nodes stay the same"
    indices.put("Node", mapped("true,true", 2))
    assert (await nodes.capacity()).requests == {"n1": Requests(cores=2)}


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(watched, "_now", clock)
    return clock


async def maps(nodes: NodeWatch) -> list[str]:
    return [found.core_usage for found in (await nodes.capacity()).nodes]


async def test_a_map_that_has_only_now_come_to_hold_too_much_says_nothing_yet(clock: Clock) -> None:
    indices, queue = Indices(), WorkQueue[Key](lambda key: False)
    nodes = NodeWatch(FakeCluster(pods={"n1": [pod("one")]}), indices, queue)
    indices.put("Node", mapped("true,false", 1))
    assert await maps(nodes) == ["true,false"]
    indices.put("Node", mapped("true,true", 2))
    assert await maps(nodes) == [""], "a pod for it may be on its way"
    clock.now += watched.SETTLED_S - 0.1
    assert await maps(nodes) == [""]
    clock.now += 0.1
    assert await maps(nodes) == ["true,true"]
    indices.put("Node", mapped("true,false", 3))
    assert await maps(nodes) == ["true,false"]
    indices.put("Node", mapped("true,true", 4))
    assert await maps(nodes) == [""], "it was right in between"


async def test_a_map_that_outlives_its_pod_for_a_moment_says_nothing_yet(clock: Clock) -> None:
    cluster, indices = FakeCluster(pods={"n1": [pod("one")]}), Indices()
    nodes = NodeWatch(cluster, indices, WorkQueue[Key](lambda key: False))
    indices.put("Node", mapped("true,false", 1))
    assert await maps(nodes) == ["true,false"]
    cluster.pods["n1"].clear()
    clock.now += 2 * watched.KEPT_S
    assert await maps(nodes) == [""]
    clock.now += watched.SETTLED_S
    assert await maps(nodes) == ["true,false"]


async def test_a_map_that_holds_too_much_when_it_is_first_seen_counts_at_once(clock: Clock) -> None:
    indices = Indices()
    indices.put("Node", mapped("true,true", 1))
    nodes = NodeWatch(FakeCluster(), indices, WorkQueue[Key](lambda key: False))
    assert await maps(nodes) == ["true,true"]


async def test_who_waits_looks_again_once_the_map_has_settled(monkeypatch: pytest.MonkeyPatch) -> None:
    for pause in ("SETTLED_S", "NUDGE_S"):
        monkeypatch.setattr(watched, pause, 0.01)
    indices, queue = Indices(), WorkQueue[Key](lambda key: False)
    nodes, key = NodeWatch(FakeCluster(), indices, queue), Key("shop", "sentiment")
    indices.put("Node", mapped("false,false", 1))
    await nodes.capacity()
    nodes.is_waiting(key, waits=True)
    indices.put("Node", mapped("true,true", 2))
    assert await maps(nodes) == [""]
    assert await asyncio.wait_for(queue.take(), 5) == key
