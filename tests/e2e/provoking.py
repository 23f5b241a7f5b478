"""Mistakes to make on the cluster, and how long it takes from the first sign of each to the object that tells of it."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import Any

from e2e.observing import Body, Observer
from e2e.summary import Summary
from e2e.world import MODEL_LABEL, World

TABLE = "seconds from the event to the reason on the object"


def conditions(body: Body) -> dict[str, Body]:
    return {one["type"]: one for one in body.get("status", {}).get("conditions", ())}


def containers(body: Body) -> list[Body]:
    status = body.get("status", {})
    return [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]


def is_there(_body: Body) -> bool:
    return True


def has_failed(pod: Body) -> bool:
    """A container ended badly or waits for what it can't get."""

    def is_failing(container: Body) -> bool:
        ended = container["state"].get("terminated") or container.get("lastState", {}).get("terminated")
        waits_for = container["state"].get("waiting", {}).get("reason", "")
        return bool(ended and ended["exitCode"]) or waits_for.startswith(("Err", "ImagePull", "CreateContainerConfig"))

    return any(is_failing(container) for container in containers(pod))


def has_no_node(pod: Body) -> bool:
    return conditions(pod).get("PodScheduled", {}).get("status") == "False"


def was_ended(pod: Body) -> bool:
    return bool(pod.get("status", {}).get("phase") == "Failed")


def lost_readiness(pod: Body) -> bool:
    """A container of it was ready once, and is not any more though it runs."""
    changed = conditions(pod).get("Ready", {}).get("lastTransitionTime", "")
    return any(
        one.get("started") and not one["ready"] and changed > one["state"].get("running", {}).get("startedAt", "~")
        for one in containers(pod)
    )


def has_no_pods(deployment: Body) -> bool:
    return conditions(deployment).get("ReplicaFailure", {}).get("status") == "True"


def is_late(deployment: Body) -> bool:
    return conditions(deployment).get("Progressing", {}).get("reason") == "ProgressDeadlineExceeded"


def was_edited(model: Body) -> bool:
    return bool(model["metadata"]["generation"] > 1)


@dataclass(frozen=True)
class Case:
    """One mistake: the reason that names it, the spec that makes it, what the message says, what shows it first (a kind
    and the first state of it that does), and whether time alone can't mend it."""

    reason: str
    spec: dict[str, Any]
    words: str
    shows_in: str = "Pod"
    shows: Callable[[Body], bool] = has_failed
    is_final: bool = False

    @property
    def name(self) -> str:
        return self.reason.lower()


def is_of(body: Body, case: Case) -> bool:
    metadata = body["metadata"]
    return bool(metadata.get("labels", {}).get(MODEL_LABEL, metadata["name"]) == case.name)


def is_told(body: Body, case: Case) -> bool:
    return is_of(body, case) and any(one["reason"] == case.reason for one in conditions(body).values())


def told(observer: Observer, case: Case) -> list[str]:
    """Every reason that Ready has had from the case's own on."""
    seen = [body for _, body in observer.seen if body["kind"] == "NeuronModel" and is_of(body, case)]
    reasons = [conditions(body).get("Ready", {}).get("reason", "") for body in seen]
    return reasons[reasons.index(case.reason) :]


@dataclass
class Reactions:
    """How long it took from each event to the object that tells of it."""

    summary: Summary
    seconds: list[float] = field(default_factory=list)

    def note(self, observer: Observer, case: Case) -> None:
        happened = observer.first(case.shows_in, lambda body: is_of(body, case) and case.shows(body))
        told_at = observer.first("NeuronModel", lambda body: is_told(body, case))
        assert happened is not None, f"no {case.shows_in} showed what {case.reason} is about"
        assert told_at is not None, f"no NeuronModel told of {case.reason}"
        # Three watches: what the operator sees first may reach us last.
        self.seconds.append(max(0.0, told_at - happened))
        self.summary.add(TABLE, case.reason, f"{self.seconds[-1]:.2f}")


def provoke(world: World, cases: Iterable[Case]) -> None:
    for case in cases:
        world.apply_model(case.name, **case.spec)


def await_reasons(world: World, observer: Observer, reactions: Reactions, cases: Iterable[Case]) -> None:
    for case in cases:
        assert case.words in world.wait_for_reason(case.name, case.reason)
        assert world.condition(case.name, "Stalled")["status"] == str(case.is_final)
        reactions.note(observer, case)
