"""Rollouts through the whole loop against a cluster in memory: decided once, recorded, held, given up, never rushed."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from fakes.cluster import FakeCluster
from model_builders import model_body, settings
from neuron_operator import errors, nodes
from neuron_operator.cluster import Ref
from neuron_operator.gate import Gate
from neuron_operator.indices import Indices, Key
from neuron_operator.metrics import Metrics
from neuron_operator.reconcile import Reconciler
from neuron_operator.workqueue import WorkQueue
from neuron_operator.writes import Writer

Body = dict[str, Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
CORES = "aws.amazon.com/neuroncore"
NEXT: Body = {"artifact": {"uri": "s3://models/sentiment/4/"}}


class YieldingCluster(FakeCluster):
    """Whoever reads lets the others run, as on a real connection."""

    async def list_pods_on(self, node: str) -> list[Body]:
        await asyncio.sleep(0)
        return await super().list_pods_on(node)


@dataclass
class World:
    """Two-core nodes n1, n2, …; the pods are put there by hand."""

    now: datetime = NOW
    cluster: YieldingCluster = field(default_factory=YieldingCluster)
    indices: Indices = field(default_factory=Indices)

    def __post_init__(self) -> None:
        gate = Gate()
        gate.open()
        self.nodes = nodes.NodeWatch(self.cluster, self.indices, WorkQueue[Key]())
        writer = Writer(self.cluster, self.indices, gate, Metrics(CollectorRegistry()))
        self.reconciler = Reconciler(self.indices, writer, self.nodes, settings(), lambda: self.now)

    def write(self, body: Body) -> None:
        self.indices.put(body["kind"], self.cluster.put(body))

    def has_nodes(self, count: int) -> None:
        for number in range(1, count + 1):
            labels = {"node.kubernetes.io/instance-type": "inf2.xlarge"}
            ready = {"allocatable": {CORES: "2"}, "conditions": [{"type": "Ready", "status": "True"}]}
            self.write({"kind": "Node", "metadata": {"name": f"n{number}", "labels": labels}, "status": ready})

    def has_pod(self, name: str, node: str, model: str = "", revision: str = "", **status: Any) -> None:
        """A pod of two cores, for the watch if it is one of ours and for whoever lists."""
        metadata: Body = {"name": name, "namespace": "shop"}
        if model:
            annotations = {"neuron-serving.dev/revision": revision}
            metadata |= {"labels": {"neuron-serving.dev/model": model}, "annotations": annotations}
        container = {"name": "runtime", "resources": {"requests": {CORES: "2"}}}
        self.lacks_pod(name)
        body = {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": node, "containers": [container]}}
        body["status"] = {"phase": "Pending" if not node else "Running", **status}
        self.cluster.pods.setdefault(node, []).append(body)
        if model:
            self.write(body)

    def lacks_pod(self, name: str) -> None:
        for pods in self.cluster.pods.values():
            pods[:] = [pod for pod in pods if pod["metadata"]["name"] != name]
        known = self.indices.get("Pod", Key("shop", name))
        if known is not None:
            self.indices.drop("Pod", self.cluster.objects.pop(Ref("Pod", "shop", name)))

    async def serves(self, model: str = "sentiment", node: str = "n1") -> None:
        """A model of one replica that runs on a node."""
        self.write(model_body(model))
        await self.reconcile(model)
        self.has_pod(f"{model}-1", node, model, self.revision(model))

    def edit(self, model: str = "sentiment", **spec: Any) -> None:
        body = self.cluster.objects[Ref("NeuronModel", "shop", model)]
        metadata = {**body["metadata"], "generation": body["metadata"]["generation"] + 1}
        self.write({**body, "metadata": metadata, "spec": {**body["spec"], **(spec or NEXT)}})

    async def reconcile(self, model: str = "sentiment") -> list[tuple[str, str]]:
        self.cluster.calls.clear()
        self.looks_again_s = await self.reconciler.reconcile(Key("shop", model))
        return self.cluster.calls

    def deployment(self, model: str = "sentiment") -> Body:
        return self.cluster.objects[Ref("Deployment", "shop", model)]

    def revision(self, model: str = "sentiment") -> str:
        return str(self.deployment(model)["spec"]["template"]["metadata"]["annotations"]["neuron-serving.dev/revision"])

    def rollout(self, model: str = "sentiment") -> tuple[str, int, int]:
        found = self.deployment(model)
        numbers = found["spec"]["strategy"]["rollingUpdate"]
        annotations = found["metadata"]["annotations"]
        assert annotations["neuron-serving.dev/revision"] == self.revision(model)
        return annotations["neuron-serving.dev/rollout"], numbers["maxSurge"], numbers["maxUnavailable"]

    def ready(self, model: str = "sentiment") -> Body:
        status = self.cluster.objects[Ref("NeuronModel", "shop", model)]["status"]
        found: Body = next(c for c in status["conditions"] if c["type"] == "Ready")
        return found


def unschedulable(since: datetime) -> Body:
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable"}
    return {"conditions": [scheduled | {"lastTransitionTime": since.isoformat(), "message": "Insufficient"}]}


@pytest.fixture
def anew(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read of the nodes is read again each time."""
    monkeypatch.setattr(nodes, "KEPT_S", -1.0)


@pytest.fixture
async def world() -> World:
    made = World()
    made.has_nodes(1)
    await made.serves()
    return made


async def test_nothing_is_planned_before_there_is_something_to_replace(world: World) -> None:
    assert world.rollout() == ("InPlace", 0, 1)
    assert await world.reconcile() == []


async def test_a_change_surges_where_a_replica_fits_and_is_decided_once(world: World) -> None:
    world.has_nodes(2)
    before = world.revision()
    world.edit()
    calls = await world.reconcile()
    assert [("list_pods_on", node) for node in ("n1", "n2", "")] == [c for c in calls if c[0] == "list_pods_on"]
    assert calls.count(("apply", "Deployment")) == 1, "the template and how it is rolled out, in one request"
    assert world.rollout() == ("Surge", 1, 0)
    assert world.revision() != before
    world.has_pod("other", "n2")
    assert await world.reconcile() == [], "decided is decided"


@pytest.mark.usefixtures("anew")
async def test_a_change_is_made_in_place_where_no_replica_fits_and_says_what_that_means(world: World) -> None:
    world.edit()
    await world.reconcile()
    assert world.rollout() == ("InPlace", 0, 1)
    placement = world.cluster.objects[Ref("NeuronModel", "shop", "sentiment")]["status"]["placement"]
    assert "nothing answers until the new version is ready" in placement["reason"]
    world.has_nodes(2)
    assert await world.reconcile() == []


async def test_scaling_plans_nothing_and_a_mode_of_the_user_reads_nothing(world: World) -> None:
    world.edit(replicas=3)
    assert [c for c in await world.reconcile() if c[0] == "list_pods_on"] == []
    world.edit(**NEXT, rollout={"mode": "Surge"})
    assert [c for c in await world.reconcile() if c[0] == "list_pods_on"] == []
    assert world.rollout() == ("Surge", 1, 0)
    world.edit(rollout={"mode": "InPlace", "maxUnavailable": 2})
    await world.reconcile()
    assert world.rollout() == ("InPlace", 0, 2)


async def test_a_change_of_a_model_that_is_suspended_with_it_replaces_nothing(world: World) -> None:
    world.has_pod("other", "", **unschedulable(NOW))
    world.edit(**NEXT, suspend=True)
    assert [c for c in await world.reconcile() if c[0] == "list_pods_on"] == []
    assert world.deployment()["spec"]["replicas"] == 0
    assert world.ready()["reason"] == "Suspended"


async def test_a_deployment_that_was_deleted_without_its_pods_is_planned_from_them_alone(world: World) -> None:
    world.has_nodes(2)
    gone = world.cluster.objects.pop(Ref("Deployment", "shop", "sentiment"))
    world.indices.drop("Deployment", gone)
    world.edit()
    await world.reconcile()
    assert world.rollout() == ("Surge", 1, 0)


async def test_two_rollouts_at_once_do_not_count_on_the_same_cores() -> None:
    world = World()
    world.has_nodes(3)
    for name, node in (("one", "n1"), ("two", "n2")):
        await world.serves(name, node)
        world.edit(name)
    await asyncio.gather(*(world.reconciler.reconcile(Key("shop", name)) for name in ("one", "two")))
    assert sorted(world.rollout(name)[0] for name in ("one", "two")) == ["InPlace", "Surge"]


async def test_cores_are_promised_until_the_surges_pod_has_a_node() -> None:
    world = World()
    world.has_nodes(4)
    for name, node in (("one", "n1"), ("two", "n2")):
        await world.serves(name, node)
    world.has_pod("other", "n4")
    world.edit("one")
    await world.reconcile("one")
    world.has_pod("one-2", "n3", "one", world.revision("one"))
    world.lacks_pod("other")
    assert await world.reconcile("one") == []
    world.edit("two")
    assert ("list_pods_on", "n4") in await world.reconcile("two"), "what was read while the promise stood is old"
    assert world.rollout("two")[0] == "Surge"


@pytest.mark.usefixtures("anew")
async def test_a_rollout_that_would_lose_its_cores_is_held_with_the_old_version(world: World) -> None:
    world.has_pod("other", "", **unschedulable(NOW))
    before = world.deployment()["spec"]["template"]
    world.edit(replicas=2, **NEXT)
    await world.reconcile()
    spec = world.deployment()["spec"]
    assert (spec["template"], spec["replicas"]) == (before, 2), "held, and scaled all the same"
    assert world.ready()["reason"] == "RolloutWouldLoseCores"
    assert "pod shop/other" in world.ready()["message"]
    assert world.looks_again_s is not None
    world.lacks_pod("other")
    await world.reconcile()
    assert world.ready()["reason"] == "Progressing"
    assert world.rollout()[0] == "InPlace"


@pytest.mark.parametrize(
    "said",
    [
        pytest.param({"rollout": {"acceptCoreLoss": True}}, id="accepted"),
        pytest.param({"rollout": {"mode": "InPlace"}}, id="asked-for"),
        pytest.param({"placement": {"priorityClassName": "high"}}, id="with-a-priority"),
    ],
)
async def test_a_user_may_accept_to_lose_the_cores(world: World, said: Body) -> None:
    world.has_pod("other", "", **unschedulable(NOW))
    world.edit(**NEXT, **said)
    await world.reconcile()
    assert world.rollout() == ("InPlace", 0, 1)
    assert world.ready()["reason"] == "Progressing"


async def surging(world: World) -> None:
    """A surge whose pod found no node, because another pod was faster."""
    world.has_nodes(2)
    world.edit()
    await world.reconcile()
    world.has_pod("other", "n2")
    world.has_pod("sentiment-2", "", "sentiment", world.revision(), **unschedulable(NOW))


@pytest.mark.usefixtures("anew")
async def test_a_surge_without_a_node_falls_back_once_and_stays_there(world: World) -> None:
    await surging(world)
    world.now = NOW + timedelta(seconds=50)
    await world.reconcile()
    assert world.rollout() == ("Surge", 1, 0)
    assert world.looks_again_s == 10
    world.now = NOW + timedelta(seconds=60)
    calls = await world.reconcile()
    assert calls.count(("apply", "Deployment")) == 1
    assert world.rollout() == ("InPlace", 0, 1)
    world.lacks_pod("other")
    await world.reconcile()
    assert world.rollout() == ("InPlace", 0, 1), "never back"


@pytest.mark.usefixtures("anew")
async def test_falling_back_is_held_too_while_others_would_take_the_cores(world: World) -> None:
    await surging(world)
    world.has_pod("third", "", **unschedulable(NOW))
    world.now = NOW + timedelta(seconds=60)
    await world.reconcile()
    assert world.rollout() == ("Surge", 1, 0)
    assert world.ready()["reason"] == "RolloutWouldLoseCores"
    world.lacks_pod("third")
    await world.reconcile()
    assert world.rollout() == ("InPlace", 0, 1)


async def test_a_deployment_of_an_earlier_release_is_written_once_and_its_pods_stay(world: World) -> None:
    live = world.deployment()
    annotations = {"neuron-serving.dev/desired-hash": "of-an-earlier-release"}
    world.write({**live, "metadata": {**live["metadata"], "annotations": annotations}})
    assert await world.reconcile() == [("apply", "Deployment")]
    assert world.deployment()["spec"] == live["spec"]
    assert await world.reconcile() == []


@pytest.mark.usefixtures("anew")
async def test_what_cannot_be_read_is_not_decided(world: World) -> None:
    before = world.deployment()
    world.edit()
    world.cluster.failures["list_pods_on", "n1"] = errors.UnreachableError("down")
    with pytest.raises(errors.UnreachableError):
        await world.reconcile()
    assert world.deployment() == before
    await world.reconcile()
    assert world.revision() != before["spec"]["template"]["metadata"]["annotations"]["neuron-serving.dev/revision"]


async def test_a_deleted_model_gives_its_promise_back() -> None:
    world = World()
    world.has_nodes(3)
    for name, node in (("one", "n1"), ("two", "n2")):
        await world.serves(name, node)
        world.edit(name)
    await world.reconcile("one")
    assert world.rollout("one")[0] == "Surge"
    world.indices.drop("NeuronModel", world.cluster.objects[Ref("NeuronModel", "shop", "one")])
    await world.reconcile("one")
    await world.reconcile("two")
    assert world.rollout("two")[0] == "Surge"


async def test_a_node_that_came_since_the_last_read_is_not_taken_for_empty() -> None:
    world = World()
    world.has_nodes(2)
    for name, node in (("one", "n1"), ("two", "n2")):
        await world.serves(name, node)
        world.edit(name)
    await world.reconcile("one")
    world.has_nodes(3)
    world.has_pod("other", "n3")
    await world.reconcile("two")
    assert world.rollout("two")[0] == "InPlace"
