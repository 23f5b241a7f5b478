"""What is known of the pods on a node is never older than the node's usage map, or the map would look stale."""

from typing import Any

from fakes.cluster import FakeCluster
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
    nodes = NodeWatch(cluster, indices, WorkQueue[Key]())
    indices.put("Node", mapped("true,false", 1))
    assert (await nodes.capacity()).requests == {"n1": Requests(cores=1)}
    reads = len(cluster.calls)
    cluster.pods["n1"].append(pod("two"))
    assert (await nodes.capacity()).requests == {"n1": Requests(cores=1)}
    assert len(cluster.calls) == reads, "what was just read is kept while the nodes stay the same"
    indices.put("Node", mapped("true,true", 2))
    assert (await nodes.capacity()).requests == {"n1": Requests(cores=2)}
