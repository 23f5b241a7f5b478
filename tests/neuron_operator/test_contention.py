"""Fields that somebody keeps taking back: counted, left to them, tried again; and who that is."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from fakes.cluster import FakeCluster
from model_builders import model_body
from model_builders import settings as operator_settings
from neuron_operator.changes import Change, change_to, with_desired_hash
from neuron_operator.cluster import Cluster, Ref
from neuron_operator.contention import (
    PATH_OWNERS,
    REPAIRS,
    WINDOW,
    Conflict,
    Contention,
    Field,
    Owner,
    autoscaler_message,
    conflict_message,
    conflicting_autoscalers,
    owner_of,
)
from neuron_operator.gate import Gate
from neuron_operator.indices import HPA, Indices, Key, trimmed
from neuron_operator.metrics import Metrics
from neuron_operator.nodes import NodeWatch
from neuron_operator.reconcile import Reconciler
from neuron_operator.workqueue import WorkQueue
from neuron_operator.writes import PROGRESS_EVERY, Writer

KEY = Key("shop", "sentiment")
START = datetime(2026, 1, 1, tzinfo=UTC)
SECOND = timedelta(seconds=1)


def body(replicas: int = 2, *, paused: bool = True) -> dict[str, Any]:
    """A child as it is wanted, with its hash."""
    wanted = {"kind": "Deployment", "metadata": {"name": "sentiment"}, "spec": {"replicas": replicas, "paused": paused}}
    return with_desired_hash(wanted)


def with_spec(wanted: dict[str, Any], **spec: Any) -> dict[str, Any]:
    return {**wanted, "spec": {**wanted["spec"], **spec}}


def look(contention: Contention, now: datetime, live: dict[str, Any], wanted: Any = None, generation: int = 1) -> Any:
    """What one reconcile writes: the paths, or None; what is lost is given up, as the writer does."""
    change = change_to(wanted or body(), live)
    assert change is not None
    for lost in contention.lost(KEY, generation, change, now):
        contention.give_up(KEY, lost, Owner("argocd"), now)
    spared = contention.spare(KEY, change)
    if spared is None:
        return None
    contention.repaired(KEY, generation, spared, now)
    return spared.paths


def fought(rounds: int = REPAIRS + 1, every: timedelta = SECOND) -> tuple[Contention, datetime]:
    """After so many rounds over spec.replicas; the moment of the next one."""
    contention = Contention()
    for index in range(rounds):
        look(contention, START + index * every, with_spec(body(), replicas=9))
    return contention, START + rounds * every


def test_a_field_is_repaired_five_times_and_left_at_the_sixth() -> None:
    contention = Contention()
    wrote = [look(contention, START + index * SECOND, with_spec(body(), replicas=9)) for index in range(8)]
    assert wrote == [("spec.replicas",)] * REPAIRS + [None] * 3
    (conflict,) = contention.conflicts(KEY, 1, START + 8 * SECOND)
    assert conflict.field == Field("Deployment", "sentiment", "spec.replicas")
    assert conflict.until == START + REPAIRS * SECOND + WINDOW


def test_other_fields_of_the_child_are_still_repaired_without_the_one_that_is_left() -> None:
    contention, now = fought()
    change = change_to(body(), with_spec(body(), replicas=9, paused=False))
    assert change is not None
    spared = contention.spare(KEY, change)
    assert spared is not None
    assert (spared.paths, spared.body["spec"]) == (("spec.paused",), {"paused": True})
    assert contention.lost(KEY, 1, change, now) == ()


TRIED_AGAIN = [
    pytest.param(WINDOW - 2 * SECOND, 1, None, id="still-left"),
    pytest.param(WINDOW, 1, ("spec.replicas",), id="ten-minutes-later"),
    pytest.param(SECOND, 2, ("spec.replicas",), id="the-spec-changed"),
]


@pytest.mark.parametrize(("after", "generation", "paths"), TRIED_AGAIN)
def test_when_a_field_is_tried_again(after: timedelta, generation: int, paths: Any) -> None:
    contention, now = fought()
    assert look(contention, now + after, with_spec(body(), replicas=9), generation=generation) == paths
    assert bool(contention.conflicts(KEY, generation, now + after)) == (paths is None)


NO_FIGHTS = [
    pytest.param([(body(index), body(index + 1)) for index in range(20)], id="we-want-something-else-each-time"),
    pytest.param([(body(9), body())] + [(None, body())] * 20, id="it-is-deleted-each-time"),
]


@pytest.mark.parametrize("rounds", NO_FIGHTS)
def test_what_is_no_fight(rounds: list[Any]) -> None:
    contention = Contention()
    for index, (live, wanted) in enumerate(rounds):
        change = Change(wanted, live, ("spec.replicas",))
        assert contention.lost(KEY, 1, change, START + index * SECOND) == ()
        contention.repaired(KEY, 1, change, START + index * SECOND)
    assert contention.conflicts(KEY, 1, START + 30 * SECOND) == ()


def test_somebody_slow_is_repaired_forever() -> None:
    contention, now = fought(rounds=30, every=WINDOW / REPAIRS + SECOND)
    assert contention.conflicts(KEY, 1, now) == ()


def test_an_older_state_that_is_put_back_whole_is_a_fight_too() -> None:
    contention = Contention()
    wrote = [look(contention, START + index * SECOND, body(9)) for index in range(REPAIRS + 3)]
    assert wrote[-1] is None, "the hash in the annotation is theirs, yet we want what we wanted"


def test_owners_that_are_taken_off_again_and_again_are_left_off() -> None:
    contention = Contention()
    taken_off = Change(body(), body(), (PATH_OWNERS,))
    for index in range(REPAIRS):
        assert contention.lost(KEY, 1, taken_off, START) == ()
        contention.repaired(KEY, 1, taken_off, START + index * SECOND)
    (lost,) = contention.lost(KEY, 1, taken_off, START + REPAIRS * SECOND)
    contention.give_up(KEY, lost, Owner(), START + REPAIRS * SECOND)
    assert contention.spare(KEY, taken_off) is None


def test_what_admission_changes_is_written_as_ever_but_no_reason_to_write() -> None:
    contention, now = fought(REPAIRS)
    (lost,) = contention.lost(KEY, 1, Change(body(), with_spec(body(), replicas=9), ("spec.replicas",)), now)
    contention.give_up(KEY, lost, Owner(is_admission=True), now)
    assert look(contention, now, with_spec(body(), replicas=9)) is None
    change = change_to(body(), with_spec(body(), replicas=9, paused=False))
    assert change is not None
    spared = contention.spare(KEY, change)
    assert spared is not None
    assert (spared.paths, spared.body) == (("spec.paused",), body())


def test_a_model_is_forgotten_when_it_is_gone_or_has_been_quiet() -> None:
    contention, now = fought()
    contention.forget(KEY)
    assert contention.size == 0
    contention, now = fought()
    other = Key("shop", "other")
    contention.repaired(other, 1, Change(body(), body(9), ("spec.replicas",)), now + WINDOW)
    assert contention.size == 1


@settings(max_examples=200)
@given(st.lists(st.tuples(st.integers(0, 400), st.booleans(), st.sampled_from([1, 1, 1, 2])), max_size=60))
def test_never_more_than_five_repairs_of_a_field_within_ten_minutes_of_one_generation(rounds: Any) -> None:
    contention, now, generation = Contention(), START, 1
    repairs: list[tuple[datetime, int]] = []
    for seconds, is_taken, step in rounds:
        now += timedelta(seconds=seconds)
        generation += step - 1
        if is_taken and look(contention, now, with_spec(body(), replicas=9), generation=generation):
            repairs.append((now, generation))
        if repairs:
            latest, of = repairs[-1]
            assert sum(when > latest - WINDOW and g == of for when, g in repairs) <= REPAIRS
    assert contention.size <= 1


def managed(manager: str, fields: Any, time: str = "2026-01-01T00:00:00Z", **more: Any) -> dict[str, Any]:
    return {"manager": manager, "operation": "Update", "time": time, "fieldsV1": fields, **more}


IMAGE: Any = {"f:spec": {"f:containers": {'k:{"name":"runtime"}': {".": {}, "f:image": {}}}}}
ITEM: Any = {"f:spec": {"f:containers": {'k:{"name":"runtime"}': {".": {}, "f:env": {}}}}}
PORT: Any = {"f:spec": {"f:ports": {'k:{"port":80,"protocol":"TCP"}': {"f:targetPort": {}}}}}
REPLICAS: Any = {"f:spec": {"f:replicas": {}}}
WHOLE: Any = {"f:spec": {"f:selector": {}}}
ENTRIES = [
    pytest.param([managed("argocd", IMAGE)], "spec.containers[runtime].image", Owner("argocd"), id="in-an-item"),
    pytest.param([managed("argocd", ITEM)], "spec.containers[runtime].image", Owner(), id="another-field-of-the-item"),
    pytest.param([managed("argocd", IMAGE)], "spec.containers[runtime]", Owner("argocd"), id="the-item"),
    pytest.param([managed("argocd", PORT)], "spec.ports[80,TCP].targetPort", Owner("argocd"), id="two-keys"),
    pytest.param([managed("argocd", WHOLE)], "spec.selector.app", Owner("argocd"), id="a-part-of-an-atomic-map"),
    pytest.param([managed("argocd", REPLICAS)], "spec.replicasX", Owner(), id="only-a-prefix-of-the-name"),
    pytest.param(
        [managed("kube-controller-manager", REPLICAS, subresource="scale")],
        "spec.replicas",
        Owner("kube-controller-manager (through scale)"),
        id="through-a-subresource",
    ),
    pytest.param(
        [managed("late", REPLICAS, "2026-01-02T00:00:00Z"), managed("early", REPLICAS)],
        "spec.replicas",
        Owner("late"),
        id="the-latest-of-several",
    ),
    pytest.param([managed("neuron-serving", REPLICAS)], "spec.replicas", Owner(is_admission=True), id="still-ours"),
    pytest.param(
        [managed("neuron-serving", REPLICAS), managed("kyverno", REPLICAS)],
        "spec.replicas",
        Owner("kyverno"),
        id="both",
    ),
    pytest.param([], "spec.replicas", Owner(), id="nobody"),
    pytest.param(
        [{name: value for name, value in managed("", REPLICAS).items() if name != "manager"}],
        "spec.replicas",
        Owner("a client without a name"),
        id="a-client-without-a-user-agent",
    ),
]


@pytest.mark.parametrize(("entries", "path", "owner"), ENTRIES)
def test_who_has_a_field(entries: list[Any], path: str, owner: Owner) -> None:
    assert owner_of({"metadata": {"managedFields": entries}}, path) == owner


def conflict(path: str, owner: Owner) -> Conflict:
    return Conflict(Field("Deployment", "sentiment", path), owner, START)


def test_the_message_names_who_and_what_and_the_cure() -> None:
    told = conflict_message([conflict("spec.replicas", Owner("keda")), conflict("spec.paused", Owner())])
    assert told.startswith("keda keeps taking back spec.replicas of Deployment sentiment; Somebody whom managedFields")
    assert "Scale the NeuronModel instead." in told
    many = conflict_message([conflict(f"metadata.labels.l{index}", Owner(is_admission=True)) for index in range(9)])
    assert "Admission (a webhook or policy) changes metadata.labels.l2" in many
    assert "; and 6 more." in many
    assert "NeuronModel" not in many


def autoscaler(kind: str = "Deployment", name: str = "sentiment", version: str = "apps/v1", **metadata: Any) -> Any:
    target = {"apiVersion": version, "kind": kind, "name": name}
    return {"metadata": {"name": "by-load", **metadata}, "spec": {"scaleTargetRef": target}}


KEDA = [{"kind": "ScaledObject", "name": "by-queue", "controller": True}]
BY_LOAD = "HorizontalPodAutoscaler by-load"
OWNER = [{"kind": "NeuronModel", "name": "sentiment", "uid": "u", "controller": True}]
DEPLOYMENT = {"metadata": {"name": "sentiment", "ownerReferences": OWNER}}
AUTOSCALERS = [
    pytest.param(DEPLOYMENT, autoscaler(), (BY_LOAD,), id="aims-at-ours"),
    pytest.param(
        DEPLOYMENT, autoscaler(ownerReferences=KEDA), (f"{BY_LOAD} (made by ScaledObject by-queue)",), id="keda"
    ),
    pytest.param(
        DEPLOYMENT, autoscaler(kind="NeuronModel", version="neuron-serving.dev/v1alpha1"), (), id="at-the-model"
    ),
    pytest.param(DEPLOYMENT, autoscaler(name="other"), (), id="another-deployment"),
    pytest.param(DEPLOYMENT, autoscaler(version="example.com/v1"), (), id="another-group"),
    pytest.param({"metadata": {"name": "sentiment"}}, autoscaler(), (), id="the-deployment-is-not-a-models"),
    pytest.param(None, autoscaler(), (), id="no-deployment"),
]


@pytest.mark.parametrize(("deployment", "found", "told"), AUTOSCALERS)
def test_autoscalers_that_aim_at_the_deployment(deployment: Any, found: Any, told: tuple[str, ...]) -> None:
    assert conflicting_autoscalers(deployment, [trimmed(HPA, found)]) == told


def test_the_message_about_an_autoscaler_says_where_to_aim() -> None:
    told = autoscaler_message((BY_LOAD,), "sentiment")
    assert told.startswith(f"{BY_LOAD} aims at Deployment sentiment")
    assert "apiVersion neuron-serving.dev/v1alpha1, kind NeuronModel, name sentiment" in told


class Fight:
    """The whole loop against a cluster in memory, with an opponent and a clock."""

    def __init__(self) -> None:
        self.cluster, self.indices, self.now, gate = FakeCluster(), Indices(), START, Gate()
        door: Cluster = self.cluster
        gate.open()
        watch = NodeWatch(door, self.indices, WorkQueue())
        self.registry = CollectorRegistry()
        writer = Writer(door, self.indices, gate, Metrics(self.registry))
        self.reconciler = Reconciler(self.indices, writer, watch, operator_settings(), lambda: self.now)
        self.write(model_body())

    def write(self, written: dict[str, Any]) -> None:
        self.indices.put(written["kind"], self.cluster.put(written))

    def edit(self, kind: str, **spec: Any) -> None:
        live = self.cluster.objects[Ref(kind, *KEY)]
        self.write({**live, "spec": {**live["spec"], **spec}})

    async def reconcile(self) -> tuple[list[tuple[str, str]], float | None]:
        self.now += SECOND
        self.cluster.calls.clear()
        return self.cluster.calls, await self.reconciler.reconcile(KEY)

    def conditions(self) -> dict[str, Any]:
        status = self.cluster.objects[Ref("NeuronModel", *KEY)]["status"]
        return {found["type"]: found for found in status["conditions"]}


@pytest.fixture
async def lost() -> Fight:
    """Replicas were taken back five times."""
    fight = Fight()
    await fight.reconcile()
    for _ in range(REPAIRS):
        fight.edit("Deployment", replicas=7)
        calls, _ = await fight.reconcile()
        assert calls == [("apply", "Deployment")]
    fight.edit("Deployment", replicas=7)
    return fight


async def test_a_lost_field_is_told_once_and_written_no_more(lost: Fight) -> None:
    calls, again_s = await lost.reconcile()
    assert calls == [("write_status", "NeuronModel"), ("post_event", "ChildConflict")]
    assert again_s == WINDOW.total_seconds()
    assert lost.cluster.events[-1]["type"] == "Warning"
    told = lost.conditions()
    assert "spec.replicas of Deployment sentiment" in told["ChildConflict"]["message"]
    assert (told["Stalled"]["status"], told["Reconciling"]["status"]) == ("False", "True")
    lost.edit("Deployment", replicas=8)
    lost.now += PROGRESS_EVERY
    assert (await lost.reconcile())[0] == [("write_status", "NeuronModel")], "0 of 8 replicas are ready"
    assert (await lost.reconcile())[0] == []
    lost.edit("Deployment", progressDeadlineSeconds=1)
    assert ("apply", "Deployment") in (await lost.reconcile())[0]
    spec = lost.cluster.objects[Ref("Deployment", *KEY)]["spec"]
    assert "replicas" not in spec, "what was applied does not name it"
    assert spec["progressDeadlineSeconds"] == 1800


async def test_a_lost_field_is_taken_again_when_the_time_is_over(lost: Fight) -> None:
    await lost.reconcile()
    lost.now += WINDOW
    assert ("apply", "Deployment") in (await lost.reconcile())[0]
    assert "ChildConflict" not in lost.conditions()


async def test_a_model_that_is_gone_is_remembered_by_nobody(lost: Fight) -> None:
    await lost.reconcile()
    lost.indices.drop("NeuronModel", {"metadata": {**model_body()["metadata"], "resourceVersion": "999999"}})
    await lost.reconcile()
    assert lost.reconciler.writer.contention.size == 0


async def test_owners_that_are_taken_off_again_and_again_are_given_up_too() -> None:
    fight = Fight()
    await fight.reconcile()
    wrote = []
    for _ in range(REPAIRS + 2):
        live = fight.cluster.objects[Ref("Service", *KEY)]
        fight.write({**live, "metadata": {**live["metadata"], "ownerReferences": []}})
        calls, _ = await fight.reconcile()
        wrote.append(("set_owners", "Service") in calls)
    assert wrote == [True] * REPAIRS + [False] * 2
    assert "metadata.ownerReferences of Service" in fight.conditions()["ChildConflict"]["message"]


async def test_what_changed_something_is_one_line_of_fields(lost: Fight, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", logger="neuron_operator.writes")
    await lost.reconcile()
    lost.edit("Deployment", progressDeadlineSeconds=1)
    await lost.reconcile()
    lines = [line.getMessage() for line in caplog.records]
    at = "child=Deployment/sentiment"
    assert [line for line in lines if at in line] == [
        f'model=shop/sentiment action=left {at} paths=spec.replicas reason=ChildConflict manager=""',
        f"model=shop/sentiment action=changed {at} paths=spec.progressDeadlineSeconds reason=Different",
    ]
    (told, *_) = [line for line in lines if "action=status" in line]
    assert told.startswith('model=shop/sentiment action=status ready=False reason=Progressing message="')


async def test_a_model_that_flaps_posts_ten_events_and_the_rest_is_counted() -> None:
    fight = Fight()
    await fight.reconcile()
    for turn in range(14):
        body = fight.cluster.objects[Ref("NeuronModel", *KEY)]
        types = [["inf2.6xlarge"], ["inf2.xlarge"]][turn % 2]
        metadata = {**body["metadata"], "generation": turn + 2}
        fight.write({**body, "metadata": metadata, "spec": {**body["spec"], "placement": {"instanceTypes": types}}})
        await fight.reconcile()
    assert len(fight.cluster.events) == 10
    assert fight.registry.get_sample_value("neuron_serving_operator_events_dropped_total") == 5
