"""autoRollback: a version that passes its deadline gives way to the last complete one, once; the status says why."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from observed import container, pod, terminated
from upgrade_world import AUTOMATIC, ROLLING_BACK, UpgradeWorld

FIRST, SECOND, THIRD = "s3://models/1/", "s3://models/2/", "s3://models/3/"
Body = dict[str, Any]


def artifact(uri: str) -> Body:
    return {"artifact": {"uri": uri}}


async def complete(**spec: Any) -> UpgradeWorld:
    """A model of the first version, every replica of it available."""
    world = UpgradeWorld()
    world.add("one", **{**artifact(FIRST), **ROLLING_BACK, **spec})
    await world.reconcile("one")
    await world.completes("one")
    return world


async def late(world: UpgradeWorld, uri: str = SECOND) -> UpgradeWorld:
    """Another version is rolled out and passes its deadline; nobody has looked at that yet."""
    world.edit("one", **artifact(uri))
    await world.reconcile("one")
    assert world.artifact("one") == uri
    world.has_status("one", 0, is_late=True)
    return world


async def rolled_back(**spec: Any) -> UpgradeWorld:
    world = await late(await complete(**spec))
    await world.work("one")
    assert world.artifact("one") == FIRST
    return world


async def test_a_version_past_its_deadline_gives_way_to_the_last_complete_one() -> None:
    world = await late(await complete())
    given_up = world.notes("one")["revision"]
    calls = await world.reconcile("one")
    assert [kind for what, kind in calls if what == "apply"] == ["Deployment"]
    notes = world.notes("one")
    assert (world.artifact("one"), notes["given-up-revision"]) == (FIRST, given_up)
    assert notes["revision"] == notes["complete-revision"] != given_up


async def test_the_status_says_what_was_given_up_and_what_serves() -> None:
    world = await rolled_back()
    given_up, kept = (world.notes("one")[f"{what}-revision"] for what in ("given-up", "complete"))
    told = {kind: world.condition("one", kind)["status"] for kind in ("Ready", "Reconciling", "Stalled")}
    assert told == {"Ready": "False", "Reconciling": "False", "Stalled": "True"}
    assert world.condition("one")["reason"] == "RolledBack"
    assert world.condition("one")["message"] == (
        f"Revision {given_up} was given up: no progress for 1800 seconds. Revision {kept}, the last that was complete, "
        "is being brought back. Correct the spec; to try the same again, set spec.rollout.autoRollback to false. "
        "Runbook: https://neuron-serving.dev/runbook/RolledBack."
    )
    await world.completes("one")
    assert f"Revision {kept}, the last that was complete, serves." in world.condition("one")["message"]
    assert world.condition("one", "Stalled")["status"] == "True"


async def test_the_reason_of_the_pod_that_failed_stays() -> None:
    world = await complete()
    world.edit("one", **artifact(SECOND))
    await world.reconcile("one")
    said = '{"reason": "ModelLoadFailed", "message": "3 inputs, not 2", "hint": "Trace it again."}'
    failing = pod("one-1", container(state=terminated(1, message=said)), revision=world.notes("one")["revision"])
    failing["metadata"] |= {"namespace": "shop", "labels": {"neuron-serving.dev/model": "one"}}
    world.write({"kind": "Pod", **failing})
    await world.reconcile("one")
    world.has_status("one", 0, is_late=True)
    await world.work("one")
    assert world.artifact("one") == FIRST
    assert "was given up: ModelLoadFailed: 3 inputs, not 2 (pod one-1)." in world.condition("one")["message"]
    await world.completes("one")
    assert world.model("one")["status"]["lastFailure"]["reason"] == "ModelLoadFailed"
    assert "ModelLoadFailed" in world.condition("one")["message"]


async def test_once_rolled_back_nothing_is_written_also_across_a_restart() -> None:
    world = await rolled_back()
    await world.completes("one")
    assert await world.reconcile("one") == []
    world.restart()
    assert await world.reconcile("one") == []
    assert world.artifact("one") == FIRST


async def test_an_old_version_that_fails_too_stays() -> None:
    world = await late(await complete())
    world.edit("one", **artifact(THIRD))
    await world.reconcile("one")
    world.has_status("one", 0, is_late=True)
    await world.work("one")
    assert world.artifact("one") == FIRST, "of two that failed none is gone back to"
    world.has_status("one", 0, is_late=True)
    await world.work("one")
    assert world.artifact("one") == FIRST
    assert world.condition("one")["reason"] == "RolledBack"


async def test_the_model_is_scaled_suspended_and_repaired_as_ever() -> None:
    world = await rolled_back()
    world.edit("one", replicas=3)
    await world.work("one")
    assert world.deployment("one")["spec"]["replicas"] == 3
    live = world.deployment("one")
    world.write({**live, "spec": {**live["spec"], "minReadySeconds": 5, "revisionHistoryLimit": 9}})
    await world.work("one")
    assert world.deployment("one")["spec"]["revisionHistoryLimit"] == 2
    world.edit("one", suspend=True)
    await world.work("one")
    assert (world.deployment("one")["spec"]["replicas"], world.artifact("one")) == (0, FIRST)
    assert world.condition("one")["reason"] == "RolledBack"


async def test_a_change_of_the_spec_is_rolled_out() -> None:
    world = await rolled_back()
    world.edit("one", **artifact(THIRD))
    await world.work("one")
    assert world.artifact("one") == THIRD
    assert "given-up-revision" not in world.notes("one")
    world.has_status("one", 0, is_late=True)
    await world.work("one")
    assert world.artifact("one") == FIRST, "what was complete before is known still"


async def test_going_back_to_the_former_spec_is_in_order() -> None:
    world = await rolled_back()
    world.edit("one", **artifact(FIRST))
    await world.completes("one")
    assert world.condition("one")["reason"] == "Serving"
    assert "given-up-revision" not in world.notes("one")


async def test_off_tries_the_same_again_and_on_gives_it_up_once_more() -> None:
    world = await rolled_back()
    await world.completes("one")
    world.edit("one", rollout={})
    await world.work("one")
    assert world.artifact("one") == SECOND
    world.edit("one", **ROLLING_BACK)
    world.has_status("one", 0, is_late=True)
    await world.work("one")
    assert world.artifact("one") == FIRST


@pytest.mark.parametrize("spec", [{"rollout": {}}, {"rollout": {"autoRollback": False}}], ids=["default", "off"])
async def test_without_the_option_a_late_version_stays_and_nothing_is_noted(spec: Body) -> None:
    world = await late(await complete(**spec))
    await world.work("one")
    assert world.artifact("one") == SECOND
    assert world.condition("one")["reason"] == "RolloutStalled"
    assert set(world.notes("one")) == {"revision", "rollout", "desired-hash"}


async def test_a_model_that_never_was_complete_has_nothing_to_go_back_to() -> None:
    world = UpgradeWorld()
    world.add("one", **artifact(FIRST), **ROLLING_BACK)
    await world.reconcile("one")
    world = await late(world)
    await world.work("one")
    assert world.artifact("one") == SECOND
    assert world.condition("one")["reason"] == "RolloutStalled"


async def test_a_model_of_no_replicas_was_never_complete() -> None:
    world = await complete(replicas=0)
    assert "complete-revision" not in world.notes("one")


async def test_a_version_that_was_complete_once_is_never_given_up() -> None:
    world = await complete()
    world.has_status("one", 0, is_late=True)
    await world.work("one")
    assert world.artifact("one") == FIRST
    assert world.condition("one")["reason"] == "RolloutStalled"


async def test_yesterdays_deadline_gives_up_nothing() -> None:
    world = await complete()
    world.edit("one", **artifact(SECOND))
    await world.reconcile("one")
    live = world.deployment("one")
    world.has_status("one", 0, is_late=True)
    told = world.deployment("one")["status"]
    world.write({**live, "status": {**told, "observedGeneration": live["metadata"]["generation"] - 1}})
    await world.work("one")
    assert world.artifact("one") == SECOND


async def test_what_a_rollback_may_need_is_kept_however_many_versions_come_after() -> None:
    world = await complete()
    for number in range(12):
        world.edit("one", **artifact(f"s3://models/next-{number}/"))
        await world.reconcile("one")
    world.restart()
    world.has_status("one", 0, is_late=True)
    await world.work("one")
    assert world.artifact("one") == FIRST


async def upgrade_given_up(*others: str) -> UpgradeWorld:
    world = await complete(**AUTOMATIC)
    for name in others:
        world.add(name, **AUTOMATIC)
        await world.reconcile(name)
        await world.completes(name)
    world.restart(release=2)
    await world.work("one", *others)
    assert world.image("one") == "runtime:2"
    world.has_status("one", 0, is_late=True)
    await world.work("one")
    assert world.image("one") == "runtime:1"
    return world


async def test_an_upgrade_that_is_given_up_stops_the_others_and_is_not_tried_again() -> None:
    world = await upgrade_given_up("two")
    for _ in range(2):
        await world.completes("one")
        await world.work("two")
        assert world.images() == {"one": "runtime:1", "two": "runtime:1"}
        assert world.condition("one")["reason"] == "RolledBack"
        assert await world.reconcile("one", "two") == []
        world.restart()


async def test_the_others_stay_stopped_while_the_model_cannot_be_placed() -> None:
    world = await upgrade_given_up("two")
    await world.completes("one")
    spec = world.model("one")["spec"]
    world.edit("one", placement={"instanceTypes": ["inf2.6xlarge"]})
    await world.work("one", "two")
    assert world.condition("one")["reason"] == "NoMatchingInstanceType"
    assert world.images() == {"one": "runtime:1", "two": "runtime:1"}
    world.edit("one", placement=spec.get("placement", {}))
    await world.work("one", "two")
    assert world.condition("one")["reason"] == "RolledBack"


async def test_a_release_that_renders_something_else_is_tried() -> None:
    world = await upgrade_given_up("two")
    await world.completes("one")
    world.restart(release=3)
    await world.work("one", "two")
    assert world.images() == {"one": "runtime:3", "two": "runtime:1"}
    await world.completes("one")
    assert world.images() == {"one": "runtime:3", "two": "runtime:3"}


@pytest.mark.parametrize(
    "way_out", [pytest.param("manual", id="manual"), pytest.param("taken-back", id="release-taken-back")]
)
async def test_an_upgrade_that_is_given_up_is_over_when_nothing_is_to_be_adopted(way_out: str) -> None:
    world = await upgrade_given_up("two")
    await world.completes("one")
    if way_out == "manual":
        world.edit("one", runtime={"upgradePolicy": "Manual"})
    else:
        world.restart(release=1)
    await world.work("one", "two")
    await world.completes("one")
    assert world.condition("one")["reason"] == "Serving"
    assert world.images() == {"one": "runtime:1", "two": "runtime:2" if way_out == "manual" else "runtime:1"}


STEPS = st.lists(st.sampled_from(["edit", "late", "complete", "degrade", "restart", "scale", "reconcile"]), max_size=30)


@given(STEPS)
@settings(max_examples=60, deadline=None)
async def test_in_any_order_of_things_a_version_is_given_up_once(history: list[str]) -> None:
    world = await complete()
    for number, step in enumerate(history):
        if step == "edit":
            world.edit("one", **artifact(f"s3://models/{number}/"))
        elif step == "scale":
            world.edit("one", replicas=number % 3)
        elif step == "restart":
            world.restart()
        elif step != "reconcile":
            replicas = world.deployment("one")["spec"]["replicas"]
            world.has_status("one", replicas if step == "complete" else 0, is_late=step == "late")
        await world.reconcile("one")
        assert len(world.left) == len(set(world.left)), "the same version was given up twice"
        wanted, runs = world.model("one")["spec"]["artifact"]["uri"], world.artifact("one")
        assert runs == wanted or world.condition("one")["reason"] == "RolledBack"
