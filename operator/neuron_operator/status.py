"""Computes the status of a NeuronModel: conditions that kstatus understands, counts, the latest failure. Pure.

`reconcile.py` writes the answer only when it differs from what is there. `now` stamps transitions and nothing else; the
times of failures and recoveries are the pods' own.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final, Literal

from pydantic import ValidationError

from neuron_operator import names
from neuron_operator.api import NeuronModel, NeuronModelStatus
from neuron_operator.api.conditions import Condition, ConditionType, Reason, with_transition_times
from neuron_operator.api.status import ArtifactStatus, LastFailure, PlacementStatus, RuntimeStatus
from neuron_operator.contention import PATH_REPLICAS, autoscaler_message, conflict_message
from neuron_operator.observe import ObservedDeployment, ObservedPod
from neuron_operator.plan import Plan
from neuron_operator.reasons import with_runbook
from neuron_operator.situation import Situation

Body = dict[str, Any]
# Time does not mend these; everything else is still being worked on.
FINAL_REASONS: Final = frozenset(
    {
        Reason.INVALID_SPEC,
        Reason.NO_MATCHING_INSTANCE_TYPE,
        Reason.SCHEDULER_EXTENSION_REQUIRED,
        Reason.NAME_CONFLICT,
        Reason.CHILD_REJECTED,
        Reason.ROLLED_BACK,
    }
)

# Seconds until a model is looked at again without any event, for what no watch tells: pods of others that free cores,
# an object of another owner that is in the way, a policy that is lifted.
UNWATCHED_S: Final[Mapping[str, float]] = {
    Reason.INSUFFICIENT_NEURON_CORES: 15.0,
    Reason.STALE_USAGE_MAP: 15.0,
    Reason.UNSCHEDULABLE: 15.0,
    Reason.NAME_CONFLICT: 30.0,
    Reason.CHILD_REJECTED: 60.0,
    # Of a child that can't be stored for now.
    Reason.PROGRESSING: 15.0,
    Reason.QUOTA_EXCEEDED: 30.0,
}


@dataclass(frozen=True)
class Verdict:
    """Ready, still worked on, or stuck until someone changes something."""

    state: Literal["ready", "reconciling", "stalled"]
    reason: Reason
    message: str


def previous_status(body: Mapping[str, Any]) -> NeuronModelStatus:
    """The status as it is; an empty one when someone else wrote what can't be read."""
    try:
        return NeuronModelStatus.model_validate(body.get("status") or {})
    except ValidationError:
        return NeuronModelStatus()


def is_only_progress(before: Mapping[str, Any], after: Mapping[str, Any]) -> bool:
    """Whether there is a step that says no more than that things go on: such a one may wait for the next.

    The first word on a model may be one.
    """

    def told(status: Mapping[str, Any]) -> tuple[Any, ...]:
        conditions = [(c["type"], c["status"], c["reason"]) for c in status.get("conditions", ())]
        return status.get("observedGeneration"), status.get("lastFailure"), conditions

    reasons = {c["reason"] for c in after["conditions"]}
    is_first = before.get("observedGeneration", -1) < 0 and reasons == {Reason.PROGRESSING}
    is_going_on = Reason.PROGRESSING in reasons and told(before) == told(after)
    return before != after and (is_first or is_going_on)


def is_new(body: Mapping[str, Any] | None) -> bool:
    """Whether nobody has looked at the model yet; one that is gone waits for no first look."""
    return body is not None and body.get("status", {}).get("observedGeneration", -1) < 0


def compute_status(situation: Situation, now: datetime) -> Body:
    previous, verdict = previous_status(situation.body), judge(situation)
    metadata, deployment, plan = situation.body["metadata"], situation.deployment, situation.plan
    generation = metadata.get("generation", 0)
    message = with_runbook(verdict.reason, verdict.message, situation.runbook_url)
    told = replace(verdict, message=message)
    wanted = (*_conditions(told, generation), *_named_conditions(situation, generation))
    status = previous.model_copy(
        update={
            "observed_generation": generation,
            "conditions": with_transition_times(previous.conditions, wanted, _text(now)),
            "replicas": deployment.replicas,
            "ready_replicas": deployment.ready,
            "updated_replicas": deployment.updated,
            "last_failure": _last_failure(previous.last_failure, situation, verdict),
        }
    )
    return status.model_copy(update=_facts(plan, deployment)).wire()


def judge(situation: Situation) -> Verdict:
    """The one answer that all conditions are made of; the first row that applies.

    | situation                                           | state               | reason                 |
    |-----------------------------------------------------|---------------------|------------------------|
    | can't be rendered or written                        | stalled if final    | the refusal's          |
    | asked for nothing, nothing left                     | ready               | Suspended, ScaledToZero|
    | pods fail                                           | stalled if too late | the failure's          |
    | past the progress deadline, nothing known to fail   | stalled             | RolloutStalled         |
    | every replica of the newest template is available   | ready               | Serving                |
    | otherwise                                           | reconciling         | Progressing            |
    """
    model, deployment, refusal = situation.plan.model, situation.deployment, situation.refusal
    if refusal is not None or model is None:
        assert refusal is not None, "a plan without a model says why"
        return Verdict("stalled" if refusal.reason in FINAL_REASONS else "reconciling", refusal.reason, refusal.message)
    wanted = _wanted_replicas(model, situation)
    if wanted == 0:
        return _nothing_wanted(deployment, is_suspended=model.spec.suspend)
    is_late = deployment.deadline_passed_at is not None and deployment.is_current
    if situation.failure is not None:
        return Verdict("stalled" if is_late else "reconciling", situation.failure.reason, situation.failure.sentence)
    if is_late:
        return Verdict(
            "stalled",
            Reason.ROLLOUT_STALLED,
            f"No progress for {model.spec.rollout.progress_deadline_seconds} seconds: {_progress(deployment, wanted)}. "
            f"See kubectl describe pods -l {names.LABEL_MODEL}={model.name}.",
        )
    if situation.plan.waits_for:
        ending = ", ".join(situation.plan.waits_for)
        return Verdict("reconciling", Reason.PROGRESSING, f"Waiting for an earlier {ending} to be gone.")
    is_complete = deployment.updated == deployment.replicas == wanted and deployment.available >= wanted
    if deployment.is_current and is_complete:
        return Verdict("ready", Reason.SERVING, f"{deployment.available} of {wanted} replicas serve.")
    return Verdict("reconciling", Reason.PROGRESSING, f"{_sentence(_progress(deployment, wanted))}.")


def seconds_until_next_look(situation: Situation, now: datetime) -> float | None:
    """When time alone can change the answer: a failure stops holding, a field that is left to others is tried again, a
    rollout is to be planned again, or something happens that no watch tells."""
    failure, refusal = situation.failure, situation.refusal
    moments = [conflict.until for conflict in situation.conflicts]
    if failure is not None and failure.holds_until is not None:
        moments.append(failure.holds_until)
    looks = [max(0.1, (moment - now).total_seconds()) for moment in moments]
    causes = (refusal or failure, situation.refused_write, situation.plan.held)
    looks += [UNWATCHED_S[cause.reason] for cause in causes if cause is not None and cause.reason in UNWATCHED_S]
    if situation.plan.look_again_s is not None:
        looks.append(situation.plan.look_again_s)
    return min(looks, default=None)


def _wanted_replicas(model: NeuronModel, situation: Situation) -> int:
    """The spec's, or the Deployment's own where its replicas are left to somebody else, who keeps some."""
    wanted, kept = model.spec.desired_replicas, situation.deployment.wanted
    is_left = any(conflict.field.path == PATH_REPLICAS for conflict in situation.conflicts)
    return kept if is_left and wanted and kept else wanted


def _nothing_wanted(deployment: ObservedDeployment, *, is_suspended: bool) -> Verdict:
    if not deployment.is_current or deployment.replicas:
        return Verdict("reconciling", Reason.PROGRESSING, "The pods are being stopped, as asked.")
    if is_suspended:
        return Verdict("ready", Reason.SUSPENDED, "Suspended: nothing is served until spec.suspend is false.")
    return Verdict("ready", Reason.SCALED_TO_ZERO, "Scaled to zero: nothing is served until spec.replicas is raised.")


def _progress(deployment: ObservedDeployment, wanted: int) -> str:
    if not deployment.is_current:
        return "the Deployment is being created or updated"
    updated_ready = f"{deployment.ready} of {wanted} replicas are ready"
    if deployment.updated < deployment.replicas or (deployment.updated < wanted and deployment.ready):
        return f"{updated_ready}, {deployment.updated} of them or to be of the newest version"
    return updated_ready


def _sentence(words: str) -> str:
    return words[:1].upper() + words[1:]


def _conditions(verdict: Verdict, generation: int) -> Sequence[Condition]:
    def condition(kind: ConditionType, *, holds: bool) -> Condition:
        return Condition(
            type=kind,
            status="True" if holds else "False",
            reason=verdict.reason,
            message=verdict.message,
            observed_generation=generation,
        )

    return (
        condition(ConditionType.READY, holds=verdict.state == "ready"),
        condition(ConditionType.RECONCILING, holds=verdict.state == "reconciling"),
        condition(ConditionType.STALLED, holds=verdict.state == "stalled"),
    )


def _named_conditions(situation: Situation, generation: int) -> Iterator[Condition]:
    """What is wrong beside the verdict; absent while it is not."""

    def holding(kind: ConditionType, reason: Reason, message: str) -> Condition:
        linked = with_runbook(reason, message, situation.runbook_url)
        return Condition(type=kind, status="True", reason=reason, message=linked, observed_generation=generation)

    if situation.conflicts:
        message = conflict_message(situation.conflicts)
        yield holding(ConditionType.CHILD_CONFLICT, Reason.CHILD_CONFLICT, message)
    if situation.autoscalers:
        message = autoscaler_message(situation.autoscalers, situation.body["metadata"]["name"])
        yield holding(ConditionType.CONFLICTING_AUTOSCALER, Reason.CONFLICTING_AUTOSCALER, message)
    if held := situation.plan.held:
        message = f"What the operator renders by now is not adopted yet. {held.reason}: {held.message}"
        yield holding(ConditionType.UPGRADE_HELD, Reason.UPGRADE_HELD, message)
    elif situation.plan.upgrade in ("incomplete", "waits"):
        # Why it was held when it had its turn: that others have theirs in between is no news.
        told = (c for c in previous_status(situation.body).conditions if c.type == ConditionType.UPGRADE_HELD)
        yield from (before.model_copy(update={"observed_generation": generation}) for before in told)


def _facts(plan: Plan, deployment: ObservedDeployment) -> dict[str, Any]:
    """What follows from the spec and the rendering; without a readable spec the earlier facts stay."""
    if plan.model is None:
        return {}
    model = plan.model
    facts: dict[str, Any] = {
        "summary": f"{deployment.ready}/{model.spec.desired_replicas}",
        "selector": ",".join(f"{key}={value}" for key, value in sorted(names.selector(model.name).items())),
        "url": names.url(model.name, model.namespace),
        "artifact": ArtifactStatus(digest=model.spec.artifact.digest) if model.spec.artifact.digest else None,
    }
    if plan.placement is not None:
        facts["placement"] = PlacementStatus(instance_types=plan.placement.instance_types, reason=plan.placement.reason)
    if plan.template is not None:
        facts["runtime"] = RuntimeStatus(image=_runtime_image(plan.template))
    return facts


def _runtime_image(template: Mapping[str, Any]) -> str:
    containers = template["spec"]["containers"]
    return str(next(c["image"] for c in containers if c["name"] == names.CONTAINER_RUNTIME))


def _last_failure(before: LastFailure | None, situation: Situation, verdict: Verdict) -> LastFailure | None:
    failure = situation.failure
    if failure is None:
        is_over = before is not None and before.recovered_at is None and verdict.state == "ready"
        recovered_at = _latest_ready(situation.pods) if is_over else None
        return before.model_copy(update={"recovered_at": recovered_at}) if before and recovered_at else before
    is_same = (
        before is not None
        and before.recovered_at is None
        and (before.reason, before.pod, before.container) == (failure.reason, failure.pod, failure.container)
    )
    return LastFailure(
        reason=failure.reason,
        pod=failure.pod,
        container=failure.container,
        exit_code=failure.exit_code,
        message=failure.message,
        hint=failure.hint,
        since=before.since if is_same and before is not None else failure.since,
    )


def _latest_ready(pods: Sequence[ObservedPod]) -> str | None:
    times = [pod.readiness_changed_at for pod in pods if pod.is_ready and pod.readiness_changed_at is not None]
    return _text(max(times)) if times else None


def _text(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")
