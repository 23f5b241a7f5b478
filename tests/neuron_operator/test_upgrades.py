"""upgradePolicy Automatic: one model of the cluster after the other, whatever happens to the operator meanwhile."""

import contextlib
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_operator import errors
from neuron_operator.indices import Key
from neuron_operator.observe import observe_pods
from neuron_operator.plan import Known, Plan, make_plan
from rollout_world import SETTINGS, RolloutWorld
from upgrade_world import AUTOMATIC, ROLLING_BACK, UpgradeWorld

NAMES = ("one", "three", "two")
OLD, NEW = "runtime:1", "runtime:2"
KSTATUS = {"Ready", "Reconciling", "Stalled"}


async def settled(*names: str, **spec: Any) -> UpgradeWorld:
    """Complete models that the first release rendered."""
    world = UpgradeWorld()
    for name in names:
        world.add(name, **{**AUTOMATIC, **spec})
    await world.reconcile(*names)
    for name in names:
        await world.completes(name)
    return world


async def upgraded(*names: str, **spec: Any) -> UpgradeWorld:
    """The same once another release has looked at them all."""
    world = await settled(*names, **spec)
    world.restart(release=2)
    await world.work(*reversed(names))
    return world


async def test_models_upgrade_one_after_the_other_by_name() -> None:
    world = await upgraded(*NAMES)
    assert world.images() == {"one": NEW, "three": OLD, "two": OLD}
    await world.work(*NAMES)
    assert world.images() == {"one": NEW, "three": OLD, "two": OLD}, "the first is not complete yet"
    assert world.turns.waiting == 2
    await world.completes("one")
    assert world.images() == {"one": NEW, "three": NEW, "two": OLD}
    await world.completes("three")
    await world.completes("two")
    assert set(world.images().values()) == {NEW}
    assert world.turns.waiting == 0


async def test_once_settled_nothing_is_written_also_across_a_restart() -> None:
    world = await upgraded("one")
    await world.completes("one")
    assert [await world.reconcile("one"), await world.reconcile("one")] == [[], []]
    world.restart()
    assert await world.reconcile("one") == []
    assert world.called == []


async def test_who_waits_is_written_nothing() -> None:
    world = await upgraded(*NAMES)
    assert await world.reconcile("three", "two") == []
    assert world.called == []


async def test_manual_models_keep_their_template_and_an_adopted_one_stays_when_the_policy_changes() -> None:
    world = await settled("one", runtime={})
    world.restart(release=2)
    assert await world.reconcile("one") == []
    world.edit("one", **AUTOMATIC)
    await world.work("one")
    assert world.image("one") == NEW
    world.edit("one", runtime={"upgradePolicy": "Manual"})
    await world.work("one")
    assert world.image("one") == NEW
    assert "upgrade" not in world.notes("one")


async def test_the_policy_alone_restarts_nothing() -> None:
    world = await settled("one", runtime={})
    world.edit("one", **AUTOMATIC)
    assert [call for call in await world.reconcile("one") if call[0] == "apply"] == []


async def test_a_model_is_upgraded_with_its_template_and_mark_in_one_request() -> None:
    world = await settled("one")
    world.restart(release=2)
    await world.reconcile("one")
    assert world.called, "it is called, because it is its turn"
    assert [call for call in await world.reconcile("one") if call[0] == "apply"] == [
        ("apply", "ControllerRevision"),
        ("apply", "Deployment"),
    ]
    assert world.notes("one")["upgrade"] == world.notes("one")["revision"]
    assert world.revisions("one") == {OLD: 1, NEW: 2}


async def test_an_upgrade_that_does_not_get_there_stops_the_others_also_for_the_next_leader() -> None:
    world = await upgraded(*NAMES)
    world.has_status("one", 0, is_late=True)
    for _ in range(2):
        world.restart()
        await world.work(*NAMES)
        assert world.images() == {"one": NEW, "three": OLD, "two": OLD}
    assert world.condition("one", "Stalled")["status"] == "True"


async def test_a_release_taken_back_takes_the_stuck_upgrade_back_at_once() -> None:
    world = await upgraded(*NAMES)
    world.restart(release=1)
    await world.work(*NAMES)
    assert set(world.images().values()) == {OLD}
    assert world.revisions("one") == {OLD: 3, NEW: 2}, "the older rendering is the newest revision now"
    await world.completes("one")
    assert "upgrade" not in world.notes("one")


async def test_a_model_that_is_not_complete_waits_and_holds_up_nobody() -> None:
    world = await settled("one", "two")
    world.has_status("one", 0)
    world.restart(release=2)
    await world.work("one", "two")
    assert world.images() == {"one": OLD, "two": NEW}
    await world.completes("one")
    assert world.image("one") == OLD, "it is the other's turn"
    await world.completes("two")
    assert world.image("one") == NEW


@pytest.mark.parametrize("spec", [{"replicas": 0}, {"suspend": True}])
async def test_a_model_without_replicas_upgrades_at_once_and_takes_no_turn(spec: dict[str, Any]) -> None:
    world = await settled("one", "two")
    world.add("asleep", **AUTOMATIC, **spec)
    await world.work("asleep")
    world.restart(release=2)
    await world.work("asleep", "one", "two")
    assert world.images() == {"asleep": NEW, "one": NEW, "two": OLD}
    assert "upgrade" not in world.notes("asleep")


LEAVING = [
    pytest.param({"runtime": {"upgradePolicy": "Manual"}}, id="manual"),
    pytest.param({"artifact": {"uri": "s3://models/next/"}}, id="edited"),
    pytest.param({"suspend": True}, id="suspended"),
]


@pytest.mark.parametrize("edit", LEAVING)
async def test_whoever_changes_the_model_that_upgrades_lets_the_next_one_begin(edit: dict[str, Any]) -> None:
    world = await upgraded("one", "two")
    world.edit("one", **edit)
    await world.work("one")
    assert world.image("two") == NEW


async def test_a_model_that_is_deleted_lets_the_next_one_begin() -> None:
    world = await upgraded("one", "two")
    world.remove("one")
    await world.reconciler.reconcile(world.reconciler.indices.keys("Deployment")[0])
    assert [key.name for key in world.called] == ["two"]


async def test_two_workers_do_not_begin_two_upgrades() -> None:
    world = await settled(*NAMES)
    world.restart(release=2)
    for _ in range(4):
        await world.reconcile(*NAMES)
    assert world.images() == {"one": NEW, "three": OLD, "two": OLD}


async def test_nobody_begins_before_every_model_was_looked_at() -> None:
    world = await settled(*NAMES)
    world.restart(release=2)
    await world.work("two", "three")
    assert set(world.images().values()) == {OLD}
    await world.work("one")
    assert world.image("one") == NEW


async def test_an_upgrade_that_is_refused_is_no_loop_and_tried_again() -> None:
    world = await settled("one", "two")
    world.restart(release=2)
    await world.reconcile("one", "two")
    world.called.clear()
    world.cluster.failures["apply", "Deployment"] = errors.RejectedError("policy", 422)
    await world.reconcile("one")
    assert [key.name for key in world.called] == ["two"], "the other may begin meanwhile"
    world.called.clear()
    await world.reconcile("one")
    assert world.images() == {"one": NEW, "two": OLD}


@pytest.mark.parametrize("kind", ["ControllerRevision", "Deployment"])
async def test_a_model_whose_upgrade_is_refused_is_scaled_all_the_same(kind: str) -> None:
    world = await settled("one")
    world.restart(release=2)
    await world.reconcile("one")
    world.edit("one", replicas=3)
    world.cluster.failures["apply", kind] = errors.ForbiddenError("exceeded quota: objects", 403)
    await world.reconcile("one")
    assert (world.image("one"), world.deployment("one")["spec"]["replicas"]) == (OLD, 3)
    assert world.condition("one")["reason"] == "Progressing"
    await world.completes("one")
    assert world.image("one") == NEW


async def refused_upgrade(*names: str) -> UpgradeWorld:
    """Complete models, of which the first by name may not be upgraded as yet."""
    world = await settled(*names)
    world.restart(release=2)
    await world.reconcile(*names)
    world.cluster.failures["apply", "Deployment"] = errors.ForbiddenError("exceeded quota: objects", 403)
    return world


async def test_a_model_whose_upgrade_is_refused_serves_says_why_it_is_held_and_is_looked_at_again() -> None:
    world = await refused_upgrade("one")
    assert await world.reconciler.reconcile(Key("shop", "one")) == 30
    assert (world.condition("one")["status"], world.condition("one")["reason"]) == ("True", "Serving")
    held = world.condition("one", "UpgradeHeld")
    assert (held["status"], held["reason"]) == ("True", "UpgradeHeld")
    assert "QuotaExceeded: exceeded quota: objects" in held["message"]
    await world.reconcile("one")
    assert world.image("one") == NEW
    assert world.conditions("one") == KSTATUS


async def test_a_model_whose_upgrade_is_held_keeps_saying_why_while_others_upgrade() -> None:
    world = await refused_upgrade("one", "two")
    await world.reconcile("one")
    await world.reconcile("two")
    assert world.images() == {"one": OLD, "two": NEW}
    told = world.condition("one", "UpgradeHeld")
    assert await world.reconcile("one") == [], "it waits for its turn by now, which is no news"
    world.restart()
    assert await world.reconcile("one") == []
    assert world.condition("one", "UpgradeHeld") == told
    world.restart(release=1)
    await world.reconcile("one")
    assert world.conditions("one") == KSTATUS, "there is nothing to adopt"


async def test_an_upgrade_that_may_have_been_written_keeps_its_turn_until_that_is_known() -> None:
    """As when an API server goes away with the answer and with the watch."""
    world = await settled("one", "two")
    world.restart(release=2)
    await world.reconcile("one", "two")
    world.called.clear()
    for failure in (errors.UnreachableError("the answer is lost"), errors.ConflictError("the watch lags", 409)):
        world.cluster.failures["apply", "Deployment"] = failure
        with contextlib.suppress(errors.ApiError):
            await world.reconcile("one")
        await world.reconcile("two")
        assert (world.called, set(world.images().values())) == ([], {OLD})
    await world.reconcile("one")
    assert world.images() == {"one": NEW, "two": OLD}
    await world.completes("one")
    assert world.image("two") == NEW


async def test_a_model_that_is_deleted_when_its_upgrade_may_have_been_written_lets_the_next_one_begin() -> None:
    world = await settled("one", "two")
    world.restart(release=2)
    await world.reconcile("one", "two")
    world.cluster.failures["apply", "Deployment"] = errors.UnreachableError("the answer is lost")
    with contextlib.suppress(errors.UnreachableError):
        await world.reconcile("one")
    world.remove("one")
    world.called.clear()
    await world.reconciler.reconcile(Key("shop", "one"))
    assert [key.name for key in world.called] == ["two"]


async def test_going_back_to_an_earlier_spec_finds_the_template_that_ran_then() -> None:
    world = await upgraded("one")
    await world.completes("one")
    first = world.model("one")["spec"]["artifact"]
    world.edit("one", artifact={"uri": "s3://models/next/"})
    await world.work("one")
    await world.completes("one")
    running = world.notes("one")["revision"]
    world.edit("one", artifact=first)
    await world.work("one")
    assert world.notes("one")["revision"] != running
    assert world.image("one") == NEW, "of the revisions of that spec the newest"


def planned_on(world: RolloutWorld) -> Plan:
    """What another release plans for the one model, which is complete, when it has its turn."""
    live = world.children["one"]["Deployment"]["one"]
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 1)
    live["metadata"]["generation"], live["status"] = 1, {"observedGeneration": 1, **counts}
    children = {kind: tuple(bodies.values()) for kind, bodies in world.children["one"].items()}
    pods = observe_pods([pod for name, pod in world.pods.items() if name.startswith("one")])
    known = Known(world.models["one"], children, pods, has_turn=True)
    newer = SETTINGS.model_copy(update={"runtime_image": NEW})
    assert make_plan(known, newer).needs_outlook
    return make_plan(known, newer, world.outlook(Key("shop", "one")))


def serving_model() -> RolloutWorld:
    world = RolloutWorld((2,))
    world.add_model("one", **AUTOMATIC)
    world.settle()
    return world


def test_an_upgrade_is_rolled_out_like_any_change() -> None:
    plan = planned_on(serving_model())
    assert (plan.upgrade, plan.strategy, plan.refusal) == ("starts", "InPlace", None)


def test_an_upgrade_that_would_lose_cores_leaves_the_model_as_it_is_and_looks_again() -> None:
    world = serving_model()
    world.add_foreign_pod(2)
    world.schedule()
    plan = planned_on(world)
    assert (plan.upgrade, plan.refusal) == ("held", None)
    assert plan.held is not None
    assert plan.held.reason == "RolloutWouldLoseCores"
    assert {change.body["kind"] for change in plan.apply} & {"Deployment", "ControllerRevision"} == set()
    assert plan.look_again_s == 15


STEPS = st.lists(
    st.tuples(
        st.sampled_from(
            ["reconcile", "reconcile", "reconcile-all", "complete", "complete", "degrade", "late", "restart", "release",
             "edit", "called"]
        ),
        st.integers(0, 2),
    ),
    max_size=25,
)  # fmt: skip


async def take(world: UpgradeWorld, step: str, number: int) -> None:
    name = NAMES[number]
    if step == "reconcile":
        await world.reconcile(name)
    elif step == "reconcile-all":
        await world.reconcile(*NAMES)
    elif step == "called":
        called = sorted({key.name for key in world.called})
        world.called.clear()
        await world.reconcile(*called)
    elif step == "complete":
        world.complete(name)
    elif step == "degrade":
        world.has_status(name, 0)
    elif step == "late":
        world.has_status(name, 0, is_late=True)
    elif step == "edit":
        world.edit(name, artifact={"uri": f"s3://models/{len(world.left)}-{number}/"})
    else:
        world.restart(release=number + 1 if step == "release" else None)


@given(st.lists(st.booleans(), min_size=3, max_size=3), STEPS)
@settings(max_examples=40, deadline=None)
async def test_in_any_order_of_things_one_model_at_most_is_in_the_middle_of_an_upgrade(
    roll_back: list[bool], history: list[tuple[str, int]]
) -> None:
    world = UpgradeWorld()
    for name, rolls_back in zip(NAMES, roll_back, strict=True):
        world.add(name, **AUTOMATIC, **(ROLLING_BACK if rolls_back else {}))
    await world.reconcile(*NAMES)
    for name in NAMES:
        await world.completes(name)
    for step, number in history:
        await take(world, step, number)
        assert len(world.upgrading) <= 1, world.upgrading
    for _ in range(5):
        for name in NAMES:
            await world.completes(name)
    assert set(world.images().values()) <= {f"runtime:{world.release}"} | given_up_images(world)


def given_up_images(world: UpgradeWorld) -> set[str]:
    """Where one upgrade was given up, nobody else upgrades either."""
    is_stopped = any("given-up-revision" in world.notes(name) for name in NAMES)
    return {"runtime:1", "runtime:2", "runtime:3"} if is_stopped else set()
