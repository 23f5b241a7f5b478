"""What is written is decided on the newest that is known, and loses where the cluster is further than that."""

from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from fakes.cluster import FakeCluster
from model_builders import model_body, settings
from neuron_operator import errors
from neuron_operator.cluster import Cluster, Ref
from neuron_operator.gate import Gate
from neuron_operator.indices import CHILD_KINDS, Indices, Key
from neuron_operator.metrics import Metrics
from neuron_operator.plan import Known, Plan, make_plan
from neuron_operator.writes import Writer

KEY = Key("shop", "sentiment")
DEPLOYMENT = Ref("Deployment", *KEY)
NOW = datetime(2026, 1, 1, tzinfo=UTC)


@dataclass
class World:
    """A model whose children exist, and a plan that was made a while ago to scale it."""

    cluster: FakeCluster = field(default_factory=FakeCluster)
    indices: Indices = field(default_factory=Indices)
    gate: Gate = field(default_factory=Gate)

    def __post_init__(self) -> None:
        self.gate.open()
        cluster: Cluster = self.cluster
        self.writer = Writer(cluster, self.indices, self.gate, Metrics(CollectorRegistry()))

    def plan(self, **spec: Any) -> Plan:
        children = {kind: self.indices.of_model(kind, KEY) for kind in CHILD_KINDS}
        return make_plan(Known(model_body(**spec), children), settings())

    async def carry_out(self, plan: Plan) -> list[tuple[str, str]]:
        self.cluster.calls.clear()
        await self.writer.carry_out(plan, NOW)
        return self.cluster.calls

    def write(self, changed: dict[str, Any], *, is_told: bool) -> None:
        """Somebody writes to the Deployment, and the watch tells of it, or not yet."""
        stored = self.cluster.put({**self.cluster.objects[DEPLOYMENT], **changed})
        if is_told:
            self.indices.put("Deployment", stored)

    def replicas(self) -> Any:
        return self.cluster.objects[DEPLOYMENT]["spec"]["replicas"]


@pytest.fixture
async def world() -> World:
    made = World()
    await made.carry_out(made.plan(replicas=1))
    return made


async def test_a_status_that_a_controller_wrote_meanwhile_decides_nothing(world: World) -> None:
    plan = world.plan(replicas=3)
    world.write({"status": {"replicas": 1}}, is_told=True)
    assert await world.carry_out(plan) == [("apply", "Deployment")]
    assert world.replicas() == 3


async def test_a_change_that_is_known_already_is_not_even_sent(world: World) -> None:
    plan = world.plan(replicas=3)
    world.write({"spec": {**world.cluster.objects[DEPLOYMENT]["spec"], "progressDeadlineSeconds": 60}}, is_told=True)
    with pytest.raises(errors.ConflictError):
        await world.carry_out(plan)
    assert world.cluster.calls == []


async def test_a_change_that_the_watch_has_not_told_wins(world: World) -> None:
    plan = world.plan(replicas=3)
    world.write({"spec": {**world.cluster.objects[DEPLOYMENT]["spec"], "replicas": 5}}, is_told=False)
    with pytest.raises(errors.ConflictError):
        await world.carry_out(plan)
    assert world.replicas() == 5


@pytest.mark.parametrize("is_told", [True, False])
async def test_what_has_changed_is_not_deleted_before_it_was_looked_at_again(world: World, is_told: bool) -> None:
    orphan = {"kind": "Deployment", **world.cluster.objects[DEPLOYMENT]}
    plan = replace(world.plan(replicas=1), delete=(orphan,))
    world.write({"spec": {}}, is_told=is_told)
    with pytest.raises(errors.ConflictError):
        await world.carry_out(plan)
    assert DEPLOYMENT in world.cluster.objects


@pytest.mark.parametrize("is_gone", [True, False])
async def test_what_is_gone_or_somebody_elses_by_now_is_not_adopted(world: World, is_gone: bool) -> None:
    metadata = world.cluster.objects[DEPLOYMENT]["metadata"]
    world.write({"metadata": {**metadata, "ownerReferences": []}}, is_told=True)
    plan = world.plan(replicas=1)
    assert [body["kind"] for body in plan.adopt] == ["Deployment"]
    somebody = {"apiVersion": "v1", "kind": "Application", "name": "somebody", "uid": "else", "controller": True}
    world.write({"metadata": {**metadata, "ownerReferences": [somebody]}}, is_told=True)
    if is_gone:
        world.indices.drop("Deployment", world.cluster.objects.pop(DEPLOYMENT))
    with pytest.raises(errors.ConflictError):
        await world.carry_out(plan)
    assert world.cluster.calls == []


async def test_behind_a_closed_gate_nothing_is_sent(world: World) -> None:
    plan = world.plan(replicas=3)
    world.gate.close()
    with pytest.raises(errors.LeadershipLostError):
        await world.carry_out(plan)
    assert world.cluster.calls == []
