"""One verdict, three conditions: every situation a model can be in, and what is kept from the status before."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from model_builders import model_body, settings
from neuron_operator.api.conditions import Reason
from neuron_operator.contention import Conflict, Field, Owner
from neuron_operator.observe import ObservedDeployment, observe_pods
from neuron_operator.plan import Known, Plan, Refusal, make_plan
from neuron_operator.reasons import Failure
from neuron_operator.revisions import revision_of
from neuron_operator.situation import Situation
from neuron_operator.status import compute_status, is_new, judge, seconds_until_next_look
from observed import condition, pod, unschedulable_pod

NOW = datetime(2026, 1, 1, tzinfo=UTC)
LATER = datetime(2026, 1, 2, tzinfo=UTC)
DONE = ObservedDeployment(is_current=True, replicas=2, ready=2, updated=2, available=2)
LATE = replace(DONE, available=1, ready=1, deadline_passed_at="2026-01-01T00:00:00Z")
GONE = ObservedDeployment(is_current=True)
FAILURE = Failure(Reason.CRASH_LOOP, "It crashed", "Look.", "pod-1", "runtime", 1, "2025-12-31T00:00:00Z")


def situation(deployment: ObservedDeployment = DONE, status: Any = None, spec: Any = None, **more: Any) -> Situation:
    body = model_body(**{"replicas": 2, **(spec or {})})
    if status is not None:
        body["status"] = status
    plan = make_plan(Known(body), settings())
    return Situation(body, plan, deployment, refusal=plan.refusal, **more)


VERDICTS = [
    pytest.param(situation(), "ready", "Serving", id="all-available"),
    pytest.param(situation(replace(DONE, is_current=False)), "reconciling", "Progressing", id="yesterdays-status"),
    pytest.param(situation(replace(DONE, available=1)), "reconciling", "Progressing", id="one-unavailable"),
    pytest.param(situation(replace(DONE, updated=1)), "reconciling", "Progressing", id="old-pods-serve"),
    pytest.param(situation(replace(DONE, replicas=3)), "reconciling", "Progressing", id="old-pods-are-left"),
    pytest.param(situation(ObservedDeployment()), "reconciling", "Progressing", id="nothing-yet"),
    pytest.param(situation(failure=FAILURE), "reconciling", "CrashLoop", id="failing"),
    pytest.param(situation(LATE, failure=FAILURE), "stalled", "CrashLoop", id="failing-for-too-long"),
    pytest.param(situation(LATE), "stalled", "RolloutStalled", id="no-progress"),
    pytest.param(situation(GONE, spec={"replicas": 0}), "ready", "ScaledToZero", id="zero"),
    pytest.param(situation(GONE, spec={"suspend": True}), "ready", "Suspended", id="suspended"),
    pytest.param(situation(DONE, spec={"suspend": True}), "reconciling", "Progressing", id="pods-are-stopping"),
    pytest.param(situation(spec={"neuronCores": "many"}), "stalled", "InvalidSpec", id="unreadable"),
    pytest.param(
        situation(spec={"placement": {"instanceTypes": ["inf2.6xlarge"]}}),
        "stalled",
        "NoMatchingInstanceType",
        id="type",
    ),
    pytest.param(situation(spec={"neuronCores": 3}), "stalled", "SchedulerExtensionRequired", id="extension"),
    pytest.param(
        replace(situation(), refusal=Refusal(Reason.QUOTA_EXCEEDED, "quota")),
        "reconciling",
        "QuotaExceeded",
        id="quota",
    ),
]


@pytest.mark.parametrize(("case", "state", "reason"), VERDICTS)
def test_the_verdict_and_its_conditions(case: Situation, state: str, reason: str) -> None:
    verdict = judge(case)
    assert (verdict.state, verdict.reason) == (state, reason)
    conditions = {c["type"]: c for c in compute_status(case, NOW)["conditions"]}
    assert {kind for kind, c in conditions.items() if c["status"] == "True"} == {state.capitalize()}
    assert all(c["message"] and c["observedGeneration"] == 1 for c in conditions.values())


def test_the_same_situation_gives_the_same_status_later() -> None:
    first = compute_status(situation(failure=FAILURE), NOW)
    assert compute_status(situation(failure=FAILURE, status=first), LATER) == first


def test_a_transition_time_moves_only_with_the_status_of_its_condition() -> None:
    failing = compute_status(situation(failure=FAILURE), NOW)
    serving = compute_status(situation(status=failing), LATER)
    times = {c["type"]: c["lastTransitionTime"] for c in serving["conditions"]}
    assert times == {
        "Ready": "2026-01-02T00:00:00Z",
        "Reconciling": "2026-01-02T00:00:00Z",
        "Stalled": "2026-01-01T00:00:00Z",
    }


def test_facts_of_the_spec_and_the_rendering() -> None:
    status = compute_status(situation(spec={"artifact": {"uri": "s3://b/m", "digest": "sha256:" + "a" * 64}}), NOW)
    assert status["url"] == "http://sentiment.shop.svc"
    assert status["selector"] == "neuron-serving.dev/model=sentiment"
    assert (status["replicas"], status["readyReplicas"], status["updatedReplicas"], status["summary"]) == (
        2,
        2,
        2,
        "2/2",
    )
    assert status["artifact"]["digest"] == "sha256:" + "a" * 64
    assert status["runtime"]["image"] == "example.com/runtime:1"
    assert status["placement"]["instanceTypes"][0] == "inf2.xlarge"


def test_an_unreadable_spec_keeps_the_facts_of_the_last_good_one() -> None:
    good = compute_status(situation(), NOW)
    bad = compute_status(situation(status=good, spec={"neuronCores": "many"}), LATER)
    assert {name: bad[name] for name in ("url", "placement", "runtime")} == {
        name: good[name] for name in ("url", "placement", "runtime")
    }


def test_the_latest_failure_is_kept_and_its_recovery_is_the_pods_own_time() -> None:
    failed = compute_status(situation(failure=FAILURE), NOW)
    again = replace(FAILURE, since="2026-01-01T05:00:00Z")
    assert compute_status(situation(failure=again, status=failed), NOW)["lastFailure"]["since"] == FAILURE.since
    ready = [condition(kind, "True", "2026-01-01T06:00:00Z") for kind in ("Ready", "ContainersReady")]
    recovered = compute_status(situation(status=failed, pods=observe_pods([pod("p", conditions=ready)])), LATER)
    assert recovered["lastFailure"]["recoveredAt"] == "2026-01-01T06:00:00Z"
    relapsed = compute_status(situation(failure=again, status=recovered), LATER)
    assert relapsed["lastFailure"]["since"] == "2026-01-01T05:00:00Z"
    assert "recoveredAt" not in relapsed["lastFailure"]


def test_a_status_that_somebody_else_made_unreadable_is_made_anew() -> None:
    assert compute_status(situation(status={"conditions": "nonsense"}), NOW) == compute_status(situation(), NOW)


def test_only_pods_of_the_newest_template_wait_for_a_node() -> None:
    template = situation().plan.template
    assert template is not None
    newest = observe_pods([unschedulable_pod(revision=revision_of(template))])
    older = observe_pods([unschedulable_pod(revision="sentiment-older")])
    assert situation(pods=newest).waits_for_a_node
    assert not situation(pods=older).waits_for_a_node


@pytest.mark.parametrize(
    ("failure", "seconds"),
    [
        (None, None),
        (FAILURE, None),
        (replace(FAILURE, holds_until=datetime(2026, 1, 1, 0, 0, 4, tzinfo=UTC)), 4.0),
        (replace(FAILURE, holds_until=datetime(2025, 1, 1, tzinfo=UTC)), 0.1),
        (replace(FAILURE, reason=Reason.INSUFFICIENT_NEURON_CORES), 15.0),
    ],
)
def test_when_to_look_again_without_an_event(failure: Failure | None, seconds: float | None) -> None:
    assert seconds_until_next_look(situation(failure=failure), NOW) == seconds


def test_what_the_api_server_refused_is_tried_again_also_where_something_else_is_told() -> None:
    told = Refusal(Reason.NO_MATCHING_INSTANCE_TYPE, "there is none")
    refused = Refusal(Reason.QUOTA_EXCEEDED, "no room for a PodDisruptionBudget")
    assert seconds_until_next_look(replace(situation(), refusal=told), NOW) is None
    assert seconds_until_next_look(replace(situation(), refusal=told, refused_write=refused), NOW) == 30.0


REPLICAS = Conflict(Field("Deployment", "sentiment", "spec.replicas"), Owner("keda"), NOW + timedelta(minutes=5))
LABEL = replace(REPLICAS, field=Field("Service", "sentiment", "metadata.labels.team"))
BUSY = replace(DONE, wanted=5, replicas=5, ready=5, updated=5, available=5)
NAMED = [
    pytest.param(situation(conflicts=(LABEL,)), {"Ready", "ChildConflict"}, "2 of 2", id="a-label-is-left"),
    pytest.param(situation(BUSY, conflicts=(REPLICAS,)), {"Ready", "ChildConflict"}, "5 of 5", id="replicas-are-left"),
    pytest.param(situation(BUSY), {"Reconciling"}, "5 of 2", id="replicas-are-not-left-yet"),
    pytest.param(
        situation(replace(GONE, wanted=0), conflicts=(REPLICAS,)),
        {"Reconciling", "ChildConflict"},
        "0 of 2",
        id="kept-at-nothing-is-not-what-was-asked-for",
    ),
    pytest.param(
        situation(BUSY, spec={"suspend": True}, conflicts=(REPLICAS,)),
        {"Reconciling", "ChildConflict"},
        "stopped",
        id="suspended-all-the-same",
    ),
    pytest.param(
        situation(autoscalers=("HorizontalPodAutoscaler by-load",)),
        {"Ready", "ConflictingAutoscaler"},
        "2 of 2",
        id="an-autoscaler-aims-wrong",
    ),
]


@pytest.mark.parametrize(("case", "holding", "words"), NAMED)
def test_named_conditions_hold_beside_the_verdict_and_do_not_change_it(
    case: Situation, holding: set[str], words: str
) -> None:
    conditions = compute_status(case, NOW)["conditions"]
    assert {c["type"] for c in conditions if c["status"] == "True"} == holding
    assert words in conditions[0]["message"]
    assert all(c["reason"] == c["type"] for c in conditions[3:])


def test_a_named_condition_ends_with_the_link_to_its_page() -> None:
    case = situation(conflicts=(LABEL,), autoscalers=("HorizontalPodAutoscaler x",), runbook_url="https://example.com")
    told = compute_status(case, NOW)["conditions"][3:]
    assert [c["message"].rsplit(" ", 1)[1] for c in told] == [
        "https://example.com/ChildConflict.",
        "https://example.com/ConflictingAutoscaler.",
    ]


def test_a_named_condition_goes_when_it_does_not_hold_any_more() -> None:
    told = compute_status(situation(conflicts=(LABEL,)), NOW)
    over = compute_status(situation(status=told), LATER)["conditions"]
    assert [c["type"] for c in over] == ["Ready", "Reconciling", "Stalled"]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (None, False),
        (model_body(), True),
        ({**model_body(), "status": {"observedGeneration": -1}}, True),
        ({**model_body(), "status": {"observedGeneration": 1}}, False),
    ],
    ids=["gone", "no-status", "the-schemas-default", "looked-at"],
)
def test_which_models_are_new(body: Any, expected: bool) -> None:
    assert is_new(body) is expected


@pytest.mark.parametrize(
    "spec",
    [{"neuronCores": "many"}, {"neuronCores": 3}, {"placement": {"instanceTypes": ["inf2.6xlarge"]}}],
    ids=["invalid", "extension", "type"],
)
def test_what_only_an_edit_mends_is_not_looked_at_again_without_one(spec: dict[str, Any]) -> None:
    assert seconds_until_next_look(situation(spec=spec), NOW) is None


def test_the_next_look_is_the_earliest_of_all_there_is_to_wait_for() -> None:
    assert seconds_until_next_look(situation(conflicts=(REPLICAS,)), NOW) == 300
    held = replace(FAILURE, holds_until=NOW + timedelta(seconds=4))
    assert seconds_until_next_look(situation(conflicts=(REPLICAS,), failure=held), NOW) == 4


def test_a_plan_that_waits_for_an_earlier_child_says_so() -> None:
    case = situation()
    waiting = replace(case, plan=replace(case.plan, waits_for=("Service sentiment",)))
    assert judge(waiting).message == "Waiting for an earlier Service sentiment to be gone."
    assert isinstance(waiting.plan, Plan)
