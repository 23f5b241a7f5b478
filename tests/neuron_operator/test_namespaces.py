"""The operator in single namespaces: what is decided where, and what it says without a look at the nodes."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest

from fakes.cluster import FakeCluster
from model_builders import model, placement_of
from neuron_operator.access import serves_models
from neuron_operator.capacity import Capacity
from neuron_operator.claims import Claim
from neuron_operator.errors import ForbiddenError
from neuron_operator.handlers import Feed
from neuron_operator.indices import Indices, Key
from neuron_operator.nodes import NodeWatch
from neuron_operator.observe import observe_deployment, observe_pods
from neuron_operator.reasons import find_failure
from neuron_operator.rollout import Replacement, plan_rollout
from neuron_operator.scope import Scope, Stream
from neuron_operator.workqueue import WorkQueue
from observed import unschedulable_pod

NOW = datetime(2026, 1, 1, tzinfo=UTC)
SHOP, LAB = Key("shop", "sentiment"), Key("lab", "vision")
SCOPE = Scope(("shop", "lab"), "system", reads_nodes=False)


def body(key: Key) -> dict[str, Any]:
    return {"metadata": {"namespace": key.namespace, "name": key.name, "resourceVersion": "5"}}


class World:
    """A feed whose lists have all come, unless `unlisted` is still on its way."""

    def __init__(self, *unlisted: Stream) -> None:
        self.indices, self.queue = Indices(), WorkQueue[Key]()
        self.cluster = FakeCluster()
        self.nodes = NodeWatch(self.cluster, self.indices, self.queue, can_read=False)
        self.feed = Feed(self.indices, self.queue, self.nodes, SCOPE)
        for stream in SCOPE.streams:
            if stream not in unlisted:
                self.feed.end_list(stream)


async def test_the_list_of_one_namespace_does_not_end_what_another_has() -> None:
    world = World()
    world.feed.know("NeuronModel", body(SHOP))
    world.feed.know("NeuronModel", body(LAB))
    assert [gone["metadata"]["name"] for gone in world.feed.begin_list(Stream("NeuronModel", "lab")).gone()] == [
        "vision"
    ]


async def test_a_model_waits_for_the_lists_of_its_namespace_and_not_for_those_of_another() -> None:
    world = World(Stream("Deployment", "shop"))
    world.feed.know("NeuronModel", body(SHOP))
    world.feed.know("NeuronModel", body(LAB))
    assert await world.queue.take() == LAB
    assert world.queue.depth == 0
    world.feed.end_list(Stream("Deployment", "shop"))
    assert await world.queue.take() == SHOP


async def test_what_a_late_list_has_is_known_before_its_models_are_decided_on() -> None:
    late = Stream("Deployment", "shop")
    world = World(late)
    world.feed.refuse(late)
    world.feed.know("NeuronModel", body(SHOP))
    assert world.feed.synced.is_set()
    world.feed.know("Deployment", body(SHOP))
    assert world.queue.depth == 0
    world.feed.end_list(late)
    assert await world.queue.take() == SHOP


async def test_a_model_of_a_namespace_that_was_lost_is_looked_at_once_it_is_back() -> None:
    world = World()
    lost = Stream("Pod", "shop")
    assert not world.feed.holds(SHOP)
    world.feed.refuse(lost)
    assert (world.feed.holds(SHOP), world.feed.holds(LAB)) == (True, False)
    assert world.feed.readable_namespaces() == ["lab"]
    world.feed.end_list(lost)
    assert await world.queue.take() == SHOP
    assert world.feed.readable_namespaces() == ["shop", "lab"]


async def test_of_several_watches_of_a_kind_the_most_silent_one_counts() -> None:
    world = World()
    world.feed.told(Stream("Pod", "shop"))
    await asyncio.sleep(0.02)
    world.feed.told(Stream("Pod", "lab"))
    assert world.feed.silence_s()["Pod"] >= 0.02
    world.feed.refuse(Stream("Pod", "shop"))
    assert world.feed.silence_s()["Pod"] < 0.02


class Door:
    """An API server that lets only some namespaces be read."""

    def __init__(self, *readable: str) -> None:
        self.readable, self.asked = readable, list[str]()

    async def serves_models(self, namespace: str = "") -> bool:
        self.asked.append(namespace)
        if namespace not in self.readable:
            raise ForbiddenError(f"no role in {namespace}")
        return True


@pytest.mark.parametrize(
    ("namespaces", "readable", "asked"),
    [
        pytest.param([""], [""], [""], id="the-whole-cluster"),
        pytest.param(["shop", "lab"], ["shop", "lab"], ["shop"], id="the-first-is-enough"),
        pytest.param(["shop", "lab"], ["lab"], ["shop", "lab"], id="the-next-where-one-is-refused"),
    ],
)
async def test_whether_models_are_served_is_asked_where_it_may_be(
    namespaces: list[str], readable: list[str], asked: list[str]
) -> None:
    door = Door(*readable)
    assert await serves_models(door, namespaces)
    assert door.asked == asked


@pytest.mark.parametrize(("namespaces", "words"), [(["shop"], "no role in shop"), ([], "none of the watched")])
async def test_without_a_namespace_to_ask_in_the_answer_is_a_refusal(namespaces: list[str], words: str) -> None:
    with pytest.raises(ForbiddenError, match=words):
        await serves_models(Door(), namespaces)


async def test_without_the_right_to_read_nodes_nothing_is_asked_for() -> None:
    world = World()
    capacity, outlook = await world.nodes.capacity(), await world.nodes.outlook(SHOP, lambda: NOW)
    assert (capacity.knows_nodes, outlook.knows_nodes, world.cluster.calls) == (False, False, [])


UNSEEN = Capacity(knows_nodes=False)
TAINT = "0/2 nodes are available: 2 node(s) had untolerated taint {gpu: true}"


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        pytest.param("0/5 nodes are available: 2 Insufficient aws.amazon.com/neuroncore", "InsufficientNeuronCores"),
        pytest.param(TAINT, "TaintNotTolerated"),
        pytest.param("0/5 nodes are available: 5 Insufficient cpu", "Unschedulable"),
        pytest.param("0/5 nodes are available: 5 node(s) didn't match Pod's node affinity/selector", "Unschedulable"),
    ],
)
def test_without_nodes_the_scheduler_has_the_word(said: str, reason: str) -> None:
    pods, placement = observe_pods([unschedulable_pod(message=said)]), placement_of(model())
    failure = find_failure(pods, observe_deployment(None), placement, UNSEEN, NOW)
    assert failure is not None
    assert failure.reason == reason
    assert reason == "InsufficientNeuronCores" or said.rstrip(".") in failure.message


@pytest.mark.parametrize(
    ("replicas", "downtime"), [(2, ""), (1, "; the one replica is replaced in place, so nothing answers until")]
)
async def test_without_nodes_an_auto_rollout_goes_in_place_and_says_why(replicas: int, downtime: str) -> None:
    outlook = await World().nodes.outlook(SHOP, lambda: NOW)
    asked = Replacement("shop", "sentiment", "sentiment-b", Claim(2, 0), replicas=replicas, max_unavailable=1)
    decision = plan_rollout(asked, outlook)
    assert (decision.strategy, decision.max_unavailable, decision.hold) == ("InPlace", 1, None)
    assert decision.reason.startswith(f"the operator may not read nodes, so which cores are free is unknown{downtime}")
