"""The loop as a whole against a cluster in memory: writes once, then never; refuses, adopts and waits as planned."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from fakes.cluster import FakeCluster
from model_builders import UID, model_body, settings
from neuron_operator import errors, nodes
from neuron_operator.cluster import Cluster, Ref
from neuron_operator.gate import Gate
from neuron_operator.indices import Indices, Key, state_of
from neuron_operator.metrics import Metrics
from neuron_operator.names import API_VERSION, KIND
from neuron_operator.reconcile import Reconciler
from neuron_operator.status import UNWATCHED_S
from neuron_operator.workqueue import WorkQueue
from neuron_operator.writes import PROGRESS_EVERY, Writer
from observed import unschedulable_pod

KEY = Key("shop", "sentiment")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
LABEL = {"neuron-serving.dev/model": "sentiment"}
CREATED = ["ControllerRevision", "Deployment", "Service", "PodDisruptionBudget"]
INF2_NODE = {
    "metadata": {
        "name": "n1",
        "resourceVersion": "1",
        "labels": {"node.kubernetes.io/instance-type": "inf2.xlarge"},
    },
    "status": {
        "allocatable": {"aws.amazon.com/neuroncore": "2"},
        "conditions": [{"type": "Ready", "status": "True"}],
    },
}


@dataclass
class World:
    cluster: FakeCluster = field(default_factory=FakeCluster)
    indices: Indices = field(default_factory=Indices)
    gate: Gate = field(default_factory=Gate)
    queue: WorkQueue[Key] = field(default_factory=WorkQueue)
    now: datetime = NOW
    is_busy: bool = False
    looks_again_s: float | None = None

    def __post_init__(self) -> None:
        self.gate.open()
        cluster: Cluster = self.cluster
        watch = nodes.NodeWatch(cluster, self.indices, self.queue)
        writer = Writer(
            cluster,
            self.indices,
            self.gate,
            Metrics(CollectorRegistry()),
            is_busy=lambda: self.is_busy,
            excuse=self.queue.excuse,
        )
        self.reconciler = Reconciler(self.indices, writer, watch, settings(), lambda: self.now)

    def write(self, body: dict[str, Any]) -> dict[str, Any]:
        """Somebody writes an object, and the watch tells."""
        stored = self.cluster.put(body)
        self.indices.put(body["kind"], stored)
        return stored

    def edit(self, spec: dict[str, Any]) -> None:
        """The user changes fields of the spec."""
        body = self.cluster.objects[Ref("NeuronModel", *KEY)]
        metadata = {**body["metadata"], "generation": body["metadata"]["generation"] + 1}
        self.write({**body, "metadata": metadata, "spec": {**body["spec"], **spec}})

    async def reconcile(self) -> list[tuple[str, str]]:
        """What was asked of the cluster, by a look long enough after the one before to tell of progress."""
        self.now += PROGRESS_EVERY
        self.cluster.calls.clear()
        self.looks_again_s = await self.reconciler.reconcile(KEY)
        return self.cluster.calls

    def ready(self) -> dict[str, Any]:
        status = self.cluster.objects[Ref("NeuronModel", *KEY)]["status"]
        return next(c for c in status["conditions"] if c["type"] == "Ready")


@pytest.fixture
def world() -> World:
    made = World()
    made.write(model_body())
    return made


async def test_the_first_look_creates_everything_and_the_second_writes_nothing(world: World) -> None:
    first = await world.reconcile()
    assert first == [
        *(("apply", kind) for kind in CREATED),
        ("write_status", "NeuronModel"),
        ("post_event", "Progressing"),
    ]
    assert await world.reconcile() == []


async def test_a_watch_that_tells_of_our_writes_before_they_are_answered_causes_no_second_look(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = world.cluster.put

    def put_and_tell(body: dict[str, Any]) -> dict[str, Any]:
        stored = store(body)
        world.indices.put(stored["kind"], stored)
        world.queue.add(KEY, state_of(stored["kind"], stored))
        return stored

    monkeypatch.setattr(world.cluster, "put", put_and_tell)
    world.queue.add(KEY)
    assert await world.queue.take() == KEY
    calls = await world.reconcile()
    world.queue.done(KEY)
    assert (len(calls), world.queue.depth) == (len(CREATED) + 2, 0)


async def test_a_drifted_child_alone_is_applied(world: World) -> None:
    await world.reconcile()
    live = world.cluster.objects[Ref("Deployment", *KEY)]
    world.write({**live, "spec": {**live["spec"], "replicas": 9}})
    assert await world.reconcile() == [("apply", "Deployment")]


async def test_a_drifted_revision_is_applied_with_the_data_that_it_has(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The API server takes an apply without it for its removal, and refuses that."""
    await world.reconcile()
    (live,) = [body for ref, body in world.cluster.objects.items() if ref.kind == "ControllerRevision"]
    labels = {**live["metadata"]["labels"], "app.kubernetes.io/name": "edited"}
    world.write({**live, "metadata": {**live["metadata"], "labels": labels}})
    applied, apply = [], world.cluster.apply

    async def recorded(body: dict[str, Any], live: dict[str, Any] | None) -> dict[str, Any]:
        applied.append(body)
        return await apply(body, live)

    monkeypatch.setattr(world.cluster, "apply", recorded)
    await world.reconcile()
    (body,) = applied
    assert body["metadata"]["labels"]["app.kubernetes.io/name"] == "neuron-runtime"
    assert body["data"] == live["data"]


@pytest.mark.parametrize("finalizers", [[], ["foregroundDeletion"]], ids=["background", "foreground"])
async def test_a_model_that_is_being_deleted_is_not_touched(world: World, finalizers: list[str]) -> None:
    await world.reconcile()
    world.cluster.objects.clear()
    body = model_body()
    body["metadata"] |= {"deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers}
    world.write(body)
    assert await world.reconcile() == []


async def refused_after_it_served(world: World, edit: dict[str, Any]) -> dict[str, Any]:
    """A model that an extension's scheduler placed and whose placement is refused now; its template as it was."""
    world.reconciler = replace(world.reconciler, settings=settings(scheduler_name="neuron-scheduler"))
    world.write(model_body(neuronCores=3, replicas=2))
    await world.reconcile()
    served: dict[str, Any] = world.cluster.objects[Ref("Deployment", *KEY)]["spec"]["template"]
    world.reconciler = replace(world.reconciler, settings=settings())
    world.edit(edit)
    return served


REFUSALS = [
    pytest.param({}, "SchedulerExtensionRequired", id="setting-removed"),
    pytest.param({"placement": {"instanceTypes": ["inf2.6xlarge"]}}, "NoMatchingInstanceType", id="wrong-type"),
]


@pytest.mark.parametrize(("edit", "reason"), REFUSALS)
async def test_a_refused_placement_leaves_the_last_good_version_and_its_scale(
    world: World, edit: dict[str, Any], reason: str
) -> None:
    served = await refused_after_it_served(world, edit)
    assert await world.reconcile() == [("write_status", "NeuronModel"), ("post_event", reason)]
    world.edit({"replicas": 5})
    assert await world.reconcile() == [("apply", "Deployment"), ("write_status", "NeuronModel")]
    world.edit({"suspend": True})
    await world.reconcile()
    spec = world.cluster.objects[Ref("Deployment", *KEY)]["spec"]
    assert (spec["replicas"], spec["template"]) == (0, served)
    assert world.ready()["reason"] == reason
    assert await world.reconcile() == []


@pytest.mark.parametrize("kinds", [["Service"], ["Deployment"], ["ControllerRevision"], CREATED[1:]])
async def test_children_of_a_refused_placement_are_repaired_from_what_is_left(world: World, kinds: list[str]) -> None:
    served = await refused_after_it_served(world, {"placement": {"instanceTypes": ["inf2.6xlarge"]}})
    await world.reconcile()
    for ref in [ref for ref in world.cluster.objects if ref.kind in kinds]:
        world.indices.drop(ref.kind, world.cluster.objects.pop(ref))
    assert [kind for what, kind in await world.reconcile() if what == "apply"] == kinds
    assert world.cluster.objects[Ref("Deployment", *KEY)]["spec"]["template"] == served


async def test_a_model_that_was_never_placed_has_no_children(world: World) -> None:
    world.edit({"placement": {"instanceTypes": ["inf2.6xlarge"]}})
    assert await world.reconcile() == [("write_status", "NeuronModel"), ("post_event", "NoMatchingInstanceType")]


async def test_children_of_an_earlier_self_are_adopted_with_their_template(world: World) -> None:
    await world.reconcile()
    template = world.cluster.objects[Ref("Deployment", *KEY)]["spec"]["template"]
    body = model_body()
    body["metadata"]["uid"] = "22222222-2222-3333-4444-555555555555"
    world.write(body)
    calls = await world.reconcile()
    assert [kind for what, kind in calls if what == "set_owners"] == CREATED
    deployment = world.cluster.objects[Ref("Deployment", *KEY)]
    assert deployment["metadata"]["ownerReferences"][0]["uid"] == body["metadata"]["uid"]
    assert deployment["spec"]["template"] == template
    assert await world.reconcile() == []


async def test_mere_progress_is_told_at_intervals_and_anything_else_at_once(world: World) -> None:
    await world.reconcile()
    service = world.cluster.objects[Ref("Service", *KEY)]
    world.write({**service, "metadata": {**service["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}})
    world.now += PROGRESS_EVERY / 4
    world.cluster.calls.clear()
    assert await world.reconciler.reconcile(KEY) == 3.0
    assert world.cluster.calls == []
    world.edit({"neuronCores": 3})
    await world.reconciler.reconcile(KEY)
    assert ("write_status", "NeuronModel") in world.cluster.calls
    assert world.ready()["reason"] == "SchedulerExtensionRequired"


async def test_while_others_wait_for_their_first_look_the_first_word_on_a_model_waits_for_the_next(
    world: World,
) -> None:
    world.is_busy = True
    assert await world.reconcile() == [("apply", kind) for kind in CREATED]
    assert await world.reconciler.reconcile(KEY) == PROGRESS_EVERY.total_seconds()
    deployment = world.cluster.objects[Ref("Deployment", *KEY)]
    counts = {"observedGeneration": 1, "replicas": 1, "readyReplicas": 1, "updatedReplicas": 1, "availableReplicas": 1}
    world.write({**deployment, "metadata": {**deployment["metadata"], "generation": 1}, "status": counts})
    world.cluster.calls.clear()
    await world.reconciler.reconcile(KEY)
    assert world.cluster.calls == [("write_status", "NeuronModel"), ("post_event", "Serving")]


async def test_the_first_word_on_a_model_does_not_wait_for_long_nor_for_nothing(world: World) -> None:
    world.is_busy = True
    await world.reconcile()
    assert [what for what, _ in await world.reconcile()] == ["write_status", "post_event"], "after the time of one word"


async def test_what_is_wrong_with_a_model_is_told_at_its_first_look_however_many_wait(world: World) -> None:
    world.is_busy = True
    world.edit({"neuronCores": 3})
    assert await world.reconcile() == [("write_status", "NeuronModel"), ("post_event", "SchedulerExtensionRequired")]


async def test_a_child_with_another_controller_is_a_name_conflict(world: World) -> None:
    owner = {"kind": "App", "name": "shop", "uid": "x", "controller": True}
    metadata = {"name": "sentiment", "namespace": "shop", "labels": {"neuron-serving.dev/model": "sentiment"}}
    world.write({"kind": "Service", "metadata": {**metadata, "ownerReferences": [owner]}, "spec": {}})
    assert await world.reconcile() == [("write_status", "NeuronModel"), ("post_event", "NameConflict")]
    assert "controlled by App shop" in world.ready()["message"]


async def test_a_terminating_child_is_waited_for(world: World) -> None:
    await world.reconcile()
    service = world.cluster.objects[Ref("Service", *KEY)]
    world.write({**service, "metadata": {**service["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}})
    assert await world.reconcile() == [("write_status", "NeuronModel")]
    assert world.ready()["message"] == "Waiting for an earlier Service sentiment to be gone."


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (errors.RejectedError("invalid volume", 422), "ChildRejected"),
        (errors.ForbiddenError("exceeded quota: q", 403), "QuotaExceeded"),
        (errors.ForbiddenError("policy", 403), "ChildRejected"),
    ],
)
async def test_a_refused_child_is_told(world: World, failure: errors.ApiError, reason: str) -> None:
    world.cluster.failures["apply", "Deployment"] = failure
    await world.reconcile()
    assert world.ready()["reason"] == reason
    await world.reconcile()
    assert world.ready()["reason"] == "Progressing"


async def test_a_refused_child_holds_up_none_but_what_is_made_of_it(world: World) -> None:
    world.cluster.failures["apply", "Deployment"] = errors.ForbiddenError("exceeded quota: q", 403)
    assert [kind for call, kind in await world.reconcile() if call == "apply"] == CREATED
    fresh = World()
    fresh.write(model_body())
    fresh.cluster.failures["apply", "ControllerRevision"] = errors.ForbiddenError("exceeded quota: q", 403)
    assert [kind for call, kind in await fresh.reconcile() if call == "apply"] == ["ControllerRevision"]


async def test_a_webhook_that_does_not_answer_is_told_and_tried_again(world: World) -> None:
    world.cluster.failures["apply", "Deployment"] = errors.WebhookError('failed calling webhook "a": refused', 500)
    await world.reconcile()
    assert world.ready()["status"] == "False"
    assert "failed calling webhook" in world.ready()["message"]
    assert world.looks_again_s == UNWATCHED_S["Progressing"]
    await world.reconcile()
    assert "failed calling webhook" not in world.ready()["message"]


async def test_what_may_not_be_deleted_keeps_nothing_from_being_told(world: World) -> None:
    await world.reconcile()
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": KEY.name, "uid": UID, "controller": True}
    metadata = {"name": "old", "namespace": KEY.namespace, "labels": LABEL, "ownerReferences": [owner]}
    world.write({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {}})
    world.edit({"replicas": 0})
    world.cluster.failures["delete", "Service"] = errors.ForbiddenError("deny-deletes", 403)
    assert ("delete", "Service") in await world.reconcile()
    assert world.ready()["observedGeneration"] == 2


@pytest.mark.parametrize("is_gone", [True, False], ids=["gone", "being-deleted"])
async def test_no_child_is_made_again_for_a_model_whose_deletion_the_watch_has_not_told(
    world: World, is_gone: bool
) -> None:
    await world.reconcile()
    model, live = Ref(KIND, *KEY), world.cluster.objects.pop(Ref("Service", *KEY))
    world.indices.drop("Service", live)
    if is_gone:
        del world.cluster.objects[model]
    else:
        body = world.cluster.objects[model]
        world.cluster.put({**body, "metadata": {**body["metadata"], "deletionTimestamp": "2026-01-01T00:00:00Z"}})
    with pytest.raises(errors.ConflictError):
        await world.reconcile()
    assert world.cluster.calls == []
    assert await world.reconcile() == []


@pytest.mark.parametrize("failure", [errors.UnreachableError("down"), errors.ThrottledError("busy")])
async def test_what_trying_again_may_mend_is_raised_and_leaves_the_status(
    world: World, failure: errors.ApiError
) -> None:
    world.cluster.failures["apply", "Service"] = failure
    with pytest.raises(type(failure)):
        await world.reconcile()
    assert "status" not in world.cluster.objects[Ref("NeuronModel", *KEY)]


async def test_an_event_that_cannot_be_posted_does_not_matter(world: World) -> None:
    world.cluster.failures["post_event", "Progressing"] = errors.UnreachableError("down")
    await world.reconcile()
    assert world.ready()["reason"] == "Progressing"


async def test_nothing_is_written_behind_a_closed_gate(world: World) -> None:
    world.gate.close()
    with pytest.raises(errors.LeadershipLostError):
        await world.reconcile()
    assert world.cluster.calls == []


async def test_not_even_a_status_is_written_behind_a_closed_gate(world: World) -> None:
    await world.reconcile()
    body = world.cluster.objects[Ref("NeuronModel", *KEY)]
    world.write({**body, "metadata": {**body["metadata"], "generation": 2}})
    world.gate.close()
    with pytest.raises(errors.LeadershipLostError):
        await world.reconcile()
    assert world.cluster.calls == []


async def test_of_many_revisions_the_oldest_are_deleted(world: World) -> None:
    for version in range(12):
        body = model_body(artifact={"uri": f"s3://models/sentiment/{version}/"})
        body["metadata"]["generation"] = version + 1
        world.write(body)
        await world.reconcile()
    kept = sorted(
        int(body["revision"]) for ref, body in world.cluster.objects.items() if ref.kind == "ControllerRevision"
    )
    assert kept == list(range(3, 13))


@pytest.mark.parametrize(
    ("labels", "owner_uid", "calls"),
    [
        pytest.param(LABEL, UID, [("delete", "Service")], id="ours"),
        pytest.param({}, UID, [], id="without-the-label"),
        pytest.param(LABEL, "another", [], id="of-another-owner"),
        pytest.param(LABEL, "", [], id="without-an-owner"),
    ],
)
async def test_what_nothing_asks_for_any_more_is_deleted_if_it_is_ours(
    world: World, labels: dict[str, str], owner_uid: str, calls: list[tuple[str, str]]
) -> None:
    await world.reconcile()
    owner = {"apiVersion": API_VERSION, "kind": KIND, "name": KEY.name, "uid": owner_uid, "controller": True}
    owners = [owner] if owner_uid else []
    metadata = {"name": "old", "namespace": KEY.namespace, "labels": labels, "ownerReferences": owners}
    world.write({"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {}})
    assert await world.reconcile() == calls


async def test_revisions_of_somebody_else_who_has_our_label_are_let_alone(world: World) -> None:
    """The controller of a StatefulSet puts the labels of its pods on its revisions."""
    owner = {"apiVersion": "apps/v1", "kind": "StatefulSet", "name": "web", "uid": "theirs", "controller": True}
    for number in range(100, 112):
        metadata = {"name": f"web-{number}", "namespace": KEY.namespace, "labels": LABEL, "ownerReferences": [owner]}
        body = {"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": metadata, "revision": number}
        world.write({**body, "data": {}})
    assert [call for call, _ in await world.reconcile()].count("delete") == 0
    (ours,) = [b for r, b in world.cluster.objects.items() if r.kind == "ControllerRevision" and b["revision"] < 100]
    assert ours["revision"] == 1


@pytest.fixture
async def waiting_for_cores(world: World) -> World:
    """One of two cores of the only node is free, and a pod of the model asks for both."""
    world.indices.put("Node", INF2_NODE)
    await world.reconcile()
    revision = next(ref.name for ref in world.cluster.objects if ref.kind == "ControllerRevision")
    body = unschedulable_pod("sentiment-1", "Insufficient aws.amazon.com/neuroncore", revision=revision)
    labels = {"neuron-serving.dev/model": "sentiment"}
    body["metadata"] |= {"namespace": "shop", "labels": labels, "resourceVersion": "1"}
    world.indices.put("Pod", body)
    asking = {"resources": {"requests": {"aws.amazon.com/neuroncore": "1"}}}
    world.cluster.pods["n1"] = [{"spec": {"nodeName": "n1", "containers": [asking]}}]
    return world


async def test_pods_of_others_are_read_only_while_a_pod_waits_for_a_node(
    waiting_for_cores: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    world = waiting_for_cores
    monkeypatch.setattr(nodes, "NUDGE_S", 0.0)
    assert ("list_pods_on", "n1") in await world.reconcile()
    assert "at most 1 free on one, 1 missing" in world.ready()["message"]
    assert await world.reconcile() == [], "the answer is kept for a few seconds"
    world.reconciler.nodes.changed()
    assert await world.queue.take() == KEY, "and asked for again when something changed"


@pytest.mark.parametrize("moment", ["list_pods_on", "write_status", "post_event"])
async def test_a_change_of_a_node_in_the_middle_of_the_first_look_is_not_lost(
    waiting_for_cores: World, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    world = waiting_for_cores
    monkeypatch.setattr(nodes, "NUDGE_S", 0.0)
    answer = getattr(world.cluster, moment)

    async def answer_late(*arguments: Any) -> Any:
        world.reconciler.nodes.changed()
        await asyncio.sleep(0)
        return await answer(*arguments)

    monkeypatch.setattr(world.cluster, moment, answer_late)
    await world.reconcile()
    assert await asyncio.wait_for(world.queue.take(), 30) == KEY
    monkeypatch.undo()
    world.cluster.pods["n1"] = []
    await world.reconcile()
    assert ("list_pods_on", "n1") in world.cluster.calls, "what was read before the change counts no more"


def test_the_owner_of_the_fixtures_is_the_model() -> None:
    assert model_body()["metadata"]["uid"] == UID
