"""The watch around the preflight checks: one metric, one log line and one Event per transition, and no more."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from fakes.cluster import FakeCluster
from model_builders import settings
from neuron_operator import errors
from neuron_operator.gate import Gate
from neuron_operator.indices import Indices
from neuron_operator.metrics import Metrics
from neuron_operator.preflight import watch as preflight_watch
from neuron_operator.preflight.checks import Check
from neuron_operator.preflight.record import Record
from neuron_operator.preflight.watch import PreflightWatch
from observed import node

Body = dict[str, Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
GROUP = {"metadata": {"name": "v1.monitoring.coreos.com", "resourceVersion": "1"}}


@dataclass
class Surrounded(FakeCluster):
    """With an API of monitoring definitions, and Events that can be found again."""

    kinds: frozenset[str] = frozenset()

    async def served_kinds(self, api_version: str) -> frozenset[str]:
        self._called("served_kinds", api_version)
        return self.kinds

    async def post_event(self, event: Body) -> None:
        await super().post_event(event)
        self.put(event)


@dataclass
class World:
    """An API server's nodes, and one replica after the other that watches them."""

    cluster: Surrounded = field(default_factory=Surrounded)
    indices: Indices = field(default_factory=Indices)
    version: int = 0

    def __post_init__(self) -> None:
        self.start()

    def start(self, *, leads: bool = True) -> None:
        self.gate, self.metrics = Gate(), Metrics(CollectorRegistry())
        if leads:
            self.gate.open()
        self.watch = PreflightWatch(
            self.cluster, self.indices, self.gate, self.metrics, settings(), lambda: NOW, Record(confirmed_after_s=0)
        )

    def has_node(self, cores: int, name: str = "n1", usage: str = "") -> None:
        self.version += 1
        body = node(name, cores=cores)
        body["metadata"] |= {"resourceVersion": str(self.version), "uid": f"uid-{name}"}
        body["metadata"]["annotations"] = {"NEURON_CORE_USAGE_MAP": usage} if usage else {}
        body["status"]["conditions"] = [{"type": "Ready", "status": "True"}]
        self.indices.put("Node", body)

    async def look(self) -> list[str]:
        """The reasons of the Events that it posted."""
        before = len(self.cluster.events)
        await self.watch.look()
        return [event["reason"] for event in self.cluster.events[before:]]

    def metric(self, check: Check) -> float | None:
        return self.metrics.registry.get_sample_value("neuron_serving_operator_preflight", {"check": check})


@pytest.fixture
def world() -> World:
    return World()


async def test_a_failure_and_its_end_are_one_event_each_about_the_node(world: World) -> None:
    world.has_node(0)
    assert await world.look() == ["DevicePluginFailed"]
    assert await world.look() == []
    world.has_node(2)
    assert await world.look() == ["DevicePluginPassed"]
    assert await world.look() == []
    failed, passed = world.cluster.events
    assert (
        failed["regarding"]
        == passed["regarding"]
        == {
            "apiVersion": "v1",
            "kind": "Node",
            "name": "n1",
            "uid": "uid-n1",
        }
    )
    assert (failed["type"], passed["type"]) == ("Warning", "Normal")
    assert failed["metadata"]["namespace"] == "default"
    assert failed["note"].startswith("No aws.amazon.com/neuroncore is advertised on n1. Install")


async def test_the_metric_is_one_zero_or_not_there(world: World) -> None:
    await world.look()
    assert (world.metric(Check.NEURON_NODES), world.metric(Check.DEVICE_PLUGIN)) == (0, None)
    world.has_node(0)
    await world.look()
    assert (world.metric(Check.NEURON_NODES), world.metric(Check.DEVICE_PLUGIN)) == (1, 0)
    world.indices.drop("Node", {"metadata": {"name": "n1", "resourceVersion": "99"}})
    await world.look()
    assert (world.metric(Check.NEURON_NODES), world.metric(Check.DEVICE_PLUGIN)) == (0, None)


async def test_what_is_true_of_no_node_is_told_of_the_lease(world: World) -> None:
    lease = {"apiVersion": "coordination.k8s.io/v1", "kind": "Lease"}
    world.cluster.put(lease | {"metadata": {"name": "neuron-serving-operator", "namespace": "default", "uid": "u"}})
    assert await world.look() == ["NeuronNodesFailed"]
    assert world.cluster.events[0]["regarding"] == lease | {
        "name": "neuron-serving-operator",
        "uid": "u",
        "namespace": "default",
    }


async def test_a_restart_posts_nothing_while_the_event_is_still_there(world: World) -> None:
    world.has_node(0)
    await world.look()
    world.start()
    assert await world.look() == []
    world.cluster.objects.clear()
    world.start()
    assert await world.look() == ["DevicePluginFailed"], "Events are forgotten after an hour; what still fails is not"


async def test_of_many_nodes_there_is_one_event(world: World) -> None:
    for number in range(50):
        world.has_node(0, f"n{number:02}")
    assert await world.look() == ["DevicePluginFailed"]
    assert "on n00, n01, n02 and others." in world.cluster.events[0]["note"]
    world.has_node(0, "n50")
    assert await world.look() == []


async def test_who_does_not_lead_measures_and_posts_nothing(world: World) -> None:
    world.start(leads=False)
    world.has_node(0)
    assert await world.look() == []
    assert world.metric(Check.DEVICE_PLUGIN) == 0
    world.gate.open()
    assert await world.look() == ["DevicePluginFailed"]
    world.gate.close()
    world.has_node(2)
    assert await world.look() == []
    world.gate.open()
    assert await world.look() == [], "whoever led meanwhile has told of it"


async def test_an_event_that_cannot_be_posted_is_tried_again(world: World) -> None:
    world.has_node(0)
    world.cluster.failures["post_event", "DevicePluginFailed"] = errors.UnreachableError("gone")
    assert await world.look() == []
    assert await world.look() == ["DevicePluginFailed"]


async def test_advice_is_an_event_only_when_it_changes(world: World) -> None:
    world.has_node(2)
    world.indices.put("APIService", GROUP)
    world.cluster.kinds = frozenset({"ServiceMonitor"})
    assert await world.look() == []
    assert world.metric(Check.MONITORING_DEFINITIONS) == 0
    world.cluster.kinds = frozenset({"ServiceMonitor", "PodMonitor"})
    assert await world.look() == ["MonitoringDefinitionsPassed"]
    world.cluster.kinds = frozenset()
    assert await world.look() == ["MonitoringDefinitionsFailed"]
    assert [event["type"] for event in world.cluster.events] == ["Normal", "Normal"]


async def test_definitions_are_asked_for_only_where_their_group_is_served(world: World) -> None:
    world.has_node(2)
    await world.look()
    assert [call for call in world.cluster.calls if call[0] == "served_kinds"] == []
    assert world.metric(Check.MONITORING_DEFINITIONS) == 0


async def test_pods_of_others_are_read_only_where_a_map_is_suspect(world: World) -> None:
    world.has_node(2, "n1", usage="false,false")
    world.has_node(2, "n2", usage="true,false")
    assert await world.look() == ["UsageMapsFailed"]
    assert [call for call in world.cluster.calls if call[0] == "list_pods_on"] == [("list_pods_on", "n2")]


async def test_pods_that_cannot_be_read_leave_the_maps_unknown(world: World) -> None:
    world.has_node(2, "n1", usage="true,false")
    world.cluster.failures["list_pods_on", "n1"] = errors.ForbiddenError("no")
    assert await world.look() == []
    assert world.metric(Check.USAGE_MAPS) is None


async def test_a_settled_cluster_is_read_from_memory_alone(world: World) -> None:
    world.has_node(2, usage="false,false")
    await world.look()
    world.cluster.calls.clear()
    assert await world.look() == []
    assert world.cluster.calls == []


async def test_one_line_is_logged_per_transition(world: World, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")
    world.has_node(0)
    await world.look()
    await world.look()
    told = [record for record in caplog.records if "check=DevicePlugin" in record.message]
    assert [(record.levelname, "outcome=fail" in record.message) for record in told] == [("WARNING", True)]


@dataclass
class Looks:
    """Counts them, in the place of the real ones."""

    count: int = 0
    seen: asyncio.Event = field(default_factory=asyncio.Event)

    async def look(self) -> float:
        self.count += 1
        self.seen.set()
        return 300.0

    async def wait(self) -> int:
        """The number of looks, once there was another one and everybody had a turn."""
        await asyncio.wait_for(self.seen.wait(), 5)
        self.seen.clear()
        await asyncio.sleep(0)
        return self.count


@pytest.fixture
def looks(world: World, monkeypatch: pytest.MonkeyPatch) -> Looks:
    looks = Looks()
    monkeypatch.setattr(world.watch, "look", looks.look)
    for pause in ("DEBOUNCE_S", "PAUSE_S"):
        monkeypatch.setattr(preflight_watch, pause, 0.0)
    return looks


async def test_it_looks_when_something_changes_and_not_before(world: World, looks: Looks) -> None:
    synced, changed = asyncio.Event(), asyncio.Event()
    running = asyncio.create_task(world.watch.run(synced, changed))
    changed.set()
    await asyncio.sleep(0)
    assert looks.count == 0, "nobody judges half of a cluster"
    synced.set()
    assert await looks.wait() == 1
    for expected in (2, 3):
        changed.set()
        assert await looks.wait() == expected
    running.cancel()


async def test_a_change_is_looked_at_once_more_because_what_follows_from_it_takes_a_moment(
    world: World, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, changed = asyncio.Event(), asyncio.Event()
    synced.set()
    monkeypatch.setattr(preflight_watch, "SECOND_LOOK_S", 0.05)
    running = asyncio.create_task(world.watch.run(synced, changed))
    assert await looks.wait() == 1
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(looks.seen.wait(), 0.2)
    changed.set()
    assert await looks.wait() == 2
    assert await looks.wait() == 3, "nothing changed since the second"
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(looks.seen.wait(), 0.2)
    running.cancel()


async def test_changes_that_never_end_are_looked_at_once_in_a_while(
    world: World, looks: Looks, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced, changed = asyncio.Event(), asyncio.Event()
    synced.set()
    monkeypatch.setattr(preflight_watch, "PAUSE_S", 0.2)
    running = asyncio.create_task(world.watch.run(synced, changed))
    assert await looks.wait() == 1
    end = asyncio.get_running_loop().time() + 0.5
    while asyncio.get_running_loop().time() < end:
        changed.set()
        await asyncio.sleep(0.001)
    assert looks.count <= 4
    running.cancel()
