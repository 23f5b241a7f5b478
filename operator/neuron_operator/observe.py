"""Reads raw Deployments, pods and nodes into the few facts that status and reasons are decided on. Pure.

Everything may be missing in what the API server sends; nothing here decides what it means. Of a pod's status, which
the kubelets write, whatever is of another type than it should be counts as missing too: one pod hides no other.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final, Literal

from neuron_operator import names
from neuron_operator.changes import parse_quantity
from neuron_operator.revisions import revision_of

Body = Mapping[str, Any]
LONGEST_CONTAINER_NAME: Final = 63


@dataclass(frozen=True)
class Termination:
    """How a container ended; the message is what it wrote itself."""

    exit_code: int
    reason: str
    message: str
    started_at: datetime | None
    finished_at: str


@dataclass(frozen=True)
class ObservedContainer:
    name: str
    image: str
    is_init: bool
    is_ready: bool
    is_started: bool
    state: Literal["waiting", "running", "terminated"]
    waiting_reason: str
    waiting_message: str
    running_since: datetime | None
    last_end: Termination | None

    @property
    def has_failed(self) -> bool:
        """Whether its latest end was a failure: for all but init containers, which are meant to end, each one is."""
        end = self.last_end
        return end is not None and (not self.is_init or end.exit_code != 0 or end.reason == "OOMKilled")


@dataclass(frozen=True)
class ObservedPod:
    name: str
    revision: str
    node: str
    created_at: datetime | None
    is_terminating: bool
    phase: str
    phase_reason: str
    phase_message: str
    is_ready: bool
    readiness_changed_at: datetime | None
    unschedulable_since: str | None
    scheduler_message: str
    containers: tuple[ObservedContainer, ...]


@dataclass(frozen=True)
class ObservedDeployment:
    """Counts of pods; `is_current` once the controller has seen the generation that we applied."""

    is_current: bool = False
    wanted: int = 0
    replicas: int = 0
    ready: int = 0
    updated: int = 0
    available: int = 0
    deadline_passed_at: str | None = None
    refused_since: str | None = None
    refusal: str = ""

    @property
    def is_complete(self) -> bool:
        """Whether every replica that the Deployment wants is available and of its newest template; so are none."""
        return self.is_current and self.updated == self.replicas == self.wanted and self.available >= self.wanted


@dataclass(frozen=True)
class ObservedNode:
    name: str
    instance_type: str
    is_usable: bool
    allocatable_cores: int
    allocatable_devices: int
    labels: Mapping[str, str]
    taints: tuple[Mapping[str, Any], ...]
    core_usage: str


def observe_deployment(body: Body | None) -> ObservedDeployment:
    if body is None:
        return ObservedDeployment()
    status = body.get("status", {})
    conditions = {condition["type"]: condition for condition in status.get("conditions", ())}
    progressing, failing = conditions.get("Progressing", {}), conditions.get("ReplicaFailure", {})
    has_passed = progressing.get("status") == "False" and progressing.get("reason") == "ProgressDeadlineExceeded"
    is_refused = failing.get("status") == "True"
    return ObservedDeployment(
        is_current=status.get("observedGeneration", 0) >= body["metadata"].get("generation", 0),
        wanted=body["spec"].get("replicas", 1),
        replicas=status.get("replicas", 0),
        ready=status.get("readyReplicas", 0),
        updated=status.get("updatedReplicas", 0),
        available=status.get("availableReplicas", 0),
        deadline_passed_at=progressing.get("lastTransitionTime", "") if has_passed else None,
        refused_since=failing.get("lastTransitionTime", "") if is_refused else None,
        refusal=str(failing.get("message", "")),
    )


def observe_pods(bodies: Sequence[Body]) -> tuple[ObservedPod, ...]:
    return tuple(_observe_pod(body) for body in bodies)


def observe_node(body: Body) -> ObservedNode:
    allocatable = body["status"]["allocatable"]
    return ObservedNode(
        name=body["metadata"]["name"],
        instance_type=body["metadata"]["labels"].get(names.LABEL_INSTANCE_TYPE, ""),
        is_usable=body["status"]["ready"] and not body["spec"]["unschedulable"],
        allocatable_cores=int(parse_quantity(allocatable.get(names.RESOURCE_NEURONCORE, 0))),
        allocatable_devices=int(parse_quantity(allocatable.get(names.RESOURCE_NEURON, 0))),
        labels=body["metadata"]["labels"],
        taints=tuple(body["spec"]["taints"]),
        core_usage=body["metadata"].get("annotations", {}).get(names.ANNOTATION_CORE_USAGE, ""),
    )


def parse_time(text: Any) -> datetime | None:
    """A Kubernetes timestamp; None for none or for one that can't be read."""
    try:
        moment = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return moment if moment is not None and moment.tzinfo is not None else None


def _observe_pod(body: Body) -> ObservedPod:
    status = _part(body, "status")
    conditions = {_text(condition, "type"): condition for condition in _parts(status, "conditions")}
    scheduled, ready = conditions.get("PodScheduled", {}), conditions.get("ContainersReady", {})
    is_unschedulable = scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable"
    return ObservedPod(
        name=body["metadata"]["name"],
        revision=revision_of(body),
        node=_text(_part(body, "spec"), "nodeName"),
        created_at=parse_time(body["metadata"].get("creationTimestamp")),
        is_terminating="deletionTimestamp" in body["metadata"],
        phase=_text(status, "phase"),
        phase_reason=_text(status, "reason"),
        phase_message=_text(status, "message"),
        is_ready=conditions.get("Ready", {}).get("status") == "True",
        readiness_changed_at=parse_time(ready.get("lastTransitionTime")),
        unschedulable_since=_text(scheduled, "lastTransitionTime") if is_unschedulable else None,
        scheduler_message=_text(scheduled, "message"),
        containers=tuple(_containers(status)),
    )


def _containers(status: Body) -> Iterator[ObservedContainer]:
    for field, is_init in (("initContainerStatuses", True), ("containerStatuses", False)):
        for container in _parts(status, field):
            yield _container(container, is_init=is_init)


def _container(status: Body, *, is_init: bool) -> ObservedContainer:
    state = _part(status, "state")
    waiting, running, terminated = _part(state, "waiting"), _part(state, "running"), _part(state, "terminated")
    ended = terminated or _part(_part(status, "lastState"), "terminated")
    return ObservedContainer(
        # The API server limits the name of a container, but not what a kubelet calls it in the status.
        name=_text(status, "name")[:LONGEST_CONTAINER_NAME],
        image=_text(status, "image"),
        is_init=is_init,
        is_ready=bool(status.get("ready")),
        is_started=bool(status.get("started")),
        state="terminated" if terminated else "running" if running else "waiting",
        waiting_reason=_text(waiting, "reason"),
        waiting_message=_text(waiting, "message"),
        running_since=parse_time(running.get("startedAt")),
        last_end=_termination(ended) if ended else None,
    )


def _termination(ended: Body) -> Termination:
    code = ended.get("exitCode", 0)
    return Termination(
        exit_code=code if isinstance(code, int) else 0,
        reason=_text(ended, "reason"),
        message=_text(ended, "message"),
        started_at=parse_time(ended.get("startedAt")),
        finished_at=_text(ended, "finishedAt"),
    )


def _part(body: Body, name: str) -> Body:
    found = body.get(name)
    return found if isinstance(found, Mapping) else {}


def _parts(body: Body, name: str) -> list[Body]:
    found = body.get(name)
    return [part for part in found if isinstance(part, Mapping)] if isinstance(found, Sequence) else []


def _text(body: Body, name: str) -> str:
    found = body.get(name)
    return found if isinstance(found, str) else ""
