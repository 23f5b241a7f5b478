"""Says why a model's pods fail: one reason per cause, most specific first, with the next step. Pure.

status.py turns the answer into conditions. Only structured status is read, never logs or event texts; the runtime
tells its own reasons in the container's termination message (docs/reference/termination-message.schema.json). Messages
hold no counters and no ages, because every change of a message is a write. Each ends with the link to its page of the
runbook; what is too long is cut in the cause, never in the link.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, Final

from neuron_operator import names
from neuron_operator.api.conditions import Reason
from neuron_operator.api.meanings import GOOD, MEANINGS
from neuron_operator.capacity import Capacity, explain_unschedulable
from neuron_operator.observe import ObservedContainer, ObservedDeployment, ObservedPod, Termination
from neuron_operator.placement import Placement

# A container that crashes in a loop is ready for moments; its reason holds until it stayed ready this long.
HOLD: Final = timedelta(seconds=10)
# In bytes, as the API server counts them in an Event.
LONGEST_MESSAGE: Final = 1024
# What is kept free at the end of a message for the link, whose address settings.py limits to 200 characters.
LONGEST_LINK: Final = 256
LONGEST_HINT: Final = 256
ELLIPSIS: Final = "…"

IMAGE_REASONS: Final = frozenset(
    {"ErrImagePull", "ImagePullBackOff", "InvalidImageName", "ErrImageNeverPull", "ImageInspectError",
     "RegistryUnavailable", "SignatureValidationFailed"}
)  # fmt: skip
CONFIG_REASONS: Final = frozenset(
    {"CreateContainerConfigError", "CreateContainerError", "RunContainerError", "PostStartHookError"}
)
# Why a node ends a pod that it ran; whatever else a failed pod has as its reason, the node never let it start.
ENDED_BY_NODE: Final = frozenset({"Evicted", "NodeShutdown", "Preempting", "Shutdown", "Terminated"})
# What the kubelet's SIGTERM, and the SIGKILL that follows it, leave as an exit code.
KILLED: Final = frozenset({137, 143})
# What the runtime may say in a termination message, most specific first.
RUNTIME_REASONS: Final = (
    Reason.HARDWARE_ERROR,
    Reason.COMPILER_VERSION_MISMATCH,
    Reason.OUT_OF_DEVICE_MEMORY,
    Reason.NEURON_CORES_BUSY,
    Reason.ARTIFACT_CORRUPT,
    Reason.ARTIFACT_NOT_FOUND,
    Reason.ARTIFACT_UNAUTHORIZED,
    Reason.ARTIFACT_TOO_LARGE,
    Reason.ARTIFACT_UNREACHABLE,
    Reason.DISK_FULL,
    Reason.INVALID_CONFIGURATION,
    Reason.MODEL_LOAD_FAILED,
    Reason.OUT_OF_MEMORY,
)
ORDER: Final = (
    *RUNTIME_REASONS,
    Reason.IMAGE_PULL_FAILED,
    Reason.CONTAINER_CONFIG_ERROR,
    Reason.CRASH_LOOP,
    Reason.PROBE_FAILING,
)


@dataclass(frozen=True)
class Failure:
    """Why a model is not serving. `since` is the pod's own time; `holds_until` is when it stops counting by itself."""

    reason: Reason
    message: str
    hint: str
    pod: str = ""
    container: str = ""
    exit_code: int | None = None
    since: str = ""
    holds_until: datetime | None = None

    @property
    def sentence(self) -> str:
        """What happened, where, and what to do, for a condition and an event."""
        where = f" (pod {self.pod}, container {self.container})" if self.container else ""
        ending = f"{where}. {_shortened(self.hint, LONGEST_HINT)}".rstrip()
        return _shortened(self.message.rstrip("."), LONGEST_MESSAGE - LONGEST_LINK - _size(ending)) + ending


def has_page(reason: Reason) -> bool:
    """Whether the runbook has a page for it: for all but those of a model that is in order."""
    return MEANINGS[reason].group != GOOD


def with_runbook(reason: Reason, message: str, runbook_url: str) -> str:
    """The message, no longer than a condition and an Event can hold, with the link to the reason's page if it has one.

    The link is the same for as long as the reason is, so it never makes a write of its own."""
    if not runbook_url or not has_page(reason):
        return _shortened(message, LONGEST_MESSAGE)
    link = f" Runbook: {runbook_url.rstrip('/')}/{reason}."
    sentence = message if message.endswith((".", "!", "?")) else f"{message}."
    return _shortened(sentence, LONGEST_MESSAGE - _size(link)) + link


def find_failure(
    pods: Sequence[ObservedPod],
    deployment: ObservedDeployment,
    placement: Placement,
    capacity: Capacity,
    now: datetime,
) -> Failure | None:
    """The failure to tell about: of containers, then of pods that can't be created, that have no node, that a node
    refused or ended. What the cluster says of it may be long; the status has limits."""
    found = _most_telling(pods, deployment, placement, capacity, now)
    return replace(found, message=_shortened(found.message, LONGEST_MESSAGE)) if found is not None else None


def _most_telling(
    pods: Sequence[ObservedPod],
    deployment: ObservedDeployment,
    placement: Placement,
    capacity: Capacity,
    now: datetime,
) -> Failure | None:
    living = [pod for pod in pods if not pod.is_terminating and pod.phase not in ("Succeeded", "Failed")]
    found = [failure for pod in living for failure in _container_failures(pod, now)]
    if found:
        return min(found, key=lambda failure: (ORDER.index(failure.reason), failure.pod, failure.container))
    return (
        _refusal(deployment)
        or _unschedulable(living, placement, capacity)
        or (_failed_pod(pods) if deployment.available < deployment.wanted else None)
    )


def _container_failures(pod: ObservedPod, now: datetime) -> Iterator[Failure]:
    for container in pod.containers:
        failure = _container_failure(pod, container, now)
        if failure is not None:
            yield failure


def _container_failure(pod: ObservedPod, container: ObservedContainer, now: datetime) -> Failure | None:
    if container.waiting_reason in IMAGE_REASONS:
        return _image_failure(pod, container)
    if container.waiting_reason in CONFIG_REASONS:
        return Failure(
            Reason.CONTAINER_CONFIG_ERROR,
            f"The container can't be started: {container.waiting_message or container.waiting_reason}",
            "Create what it refers to (Secret, ConfigMap, volume), or correct spec.pod.",
            pod.name,
            container.name,
        )
    if container.state == "running":
        return _failure_while_running(pod, container, now)
    return _ended(pod, container) if container.has_failed else None


def _failure_while_running(pod: ObservedPod, container: ObservedContainer, now: datetime) -> Failure | None:
    changed, started = pod.readiness_changed_at, container.running_since
    if container.is_ready:
        # The pod's readiness is older than this start where another of its containers was never ready.
        ready_since = max((moment for moment in (changed, started) if moment is not None), default=now)
        holds_until = ready_since + HOLD
        return _ended(pod, container, holds_until) if container.has_failed and now < holds_until else None
    was_ready_since_start = changed is not None and started is not None and changed > started
    if not container.is_init and container.is_started and was_ready_since_start:
        return Failure(
            Reason.PROBE_FAILING,
            "The container runs but its readiness probe fails, after it had been ready",
            f"See what it says: kubectl logs {pod.name} -c {container.name}.",
            pod.name,
            container.name,
            since=_moment(changed),
        )
    return _ended(pod, container) if container.has_failed else None


def _ended(pod: ObservedPod, container: ObservedContainer, holds_until: datetime | None = None) -> Failure:
    end = container.last_end
    assert end is not None, "only a container that ended is asked how"
    told = parse_termination_message(end.message)
    reason, message, hint = told if told is not None else _untold(pod, container)
    return Failure(reason, message, hint, pod.name, container.name, end.exit_code, end.finished_at, holds_until)


def _untold(pod: ObservedPod, container: ObservedContainer) -> tuple[Reason, str, str]:
    """What the way it ended tells, where the container itself said nothing.

    | ended                          | had been ready | reason      |
    |--------------------------------|----------------|-------------|
    | as OOMKilled                   | whatever       | OutOfMemory |
    | by SIGTERM or SIGKILL          | never          | ProbeFailing|
    | otherwise                      | whatever       | CrashLoop   |
    """
    end = container.last_end
    assert end is not None, "only a container that ended is asked how"
    if end.reason == "OOMKilled":
        return (
            Reason.OUT_OF_MEMORY,
            "The container was killed because it used more host memory than its limit",
            "Raise spec.resources.limits.memory, or that of the container in spec.pod.containers.",
        )
    logs = f"kubectl logs {pod.name} -c {container.name} --previous"
    was_killed = end.exit_code in KILLED
    if was_killed and not container.is_init and not _had_been_ready(pod, end):
        return (
            Reason.PROBE_FAILING,
            f"The container was killed (exit code {end.exit_code}) before it was ever ready, most likely because its "
            "startup probe kept failing",
            f"See what held it up: {logs}; kubectl describe pod {pod.name} shows the probe.",
        )
    cause = " (killed: often by a failing liveness probe)" if was_killed else ""
    if end.exit_code == 0:
        cause = ", although it is meant to go on running"
    return Reason.CRASH_LOOP, f"The container ended with exit code {end.exit_code}{cause}", f"See what it said: {logs}."


def _had_been_ready(pod: ObservedPod, end: Termination) -> bool:
    """Readiness that was lost during the container's last run had been gained in it."""
    changed = pod.readiness_changed_at
    return changed is not None and end.started_at is not None and changed > end.started_at


def parse_termination_message(text: str) -> tuple[Reason, str, str] | None:
    """Reason, message and hint as the runtime wrote them; None for anything else, such as a user container's words."""
    try:
        said = json.loads(text)
    except (ValueError, RecursionError):
        return None
    if not isinstance(said, dict) or said.get("reason") not in RUNTIME_REASONS:
        return None
    return Reason(said["reason"]), _text(said.get("message")) or str(said["reason"]), _text(said.get("hint"))


def _moment(moment: datetime | None) -> str:
    return moment.isoformat().replace("+00:00", "Z") if moment is not None else ""


def _shortened(text: str, longest: int) -> str:
    """At most so many bytes of UTF-8, in which the API server counts the note of an Event."""
    if _size(text) <= longest:
        return text
    return text.encode()[: longest - _size(ELLIPSIS)].decode(errors="ignore").rstrip() + ELLIPSIS


def _size(text: str) -> int:
    return len(text.encode())


def _text(value: Any) -> str:
    """In one line, without halves of characters: JSON can hold those, and nothing else can."""
    if not isinstance(value, str):
        return ""
    return " ".join(value.encode(errors="replace").decode().split())[:LONGEST_MESSAGE]


def _image_failure(pod: ObservedPod, container: ObservedContainer) -> Failure:
    said = container.waiting_message.lower()
    if container.waiting_reason == "InvalidImageName":
        message, hint = "is no valid image name", "Correct it."
    elif any(word in said for word in ("unauthorized", "denied", "authentication", "forbidden", "no basic auth")):
        message, hint = "is refused by the registry", "Give the pods spec.pod.imagePullSecrets or the node a role."
    elif any(word in said for word in ("not found", "manifest unknown", "does not exist", "no such image")):
        message, hint = "does not exist in its registry", "Correct the name and tag, or push the image."
    elif container.waiting_reason == "ErrImageNeverPull":
        message, hint = "is not on the node and may not be pulled", "Load it onto the node or change the pull policy."
    else:
        message, hint = "can't be pulled", "Check that the nodes reach the registry: kubectl describe pod."
    return Failure(Reason.IMAGE_PULL_FAILED, f"Image {container.image} {message}", hint, pod.name, container.name)


def _refusal(deployment: ObservedDeployment) -> Failure | None:
    if deployment.refused_since is None:
        return None
    is_quota = "exceeded quota" in deployment.refusal
    return Failure(
        Reason.QUOTA_EXCEEDED if is_quota else Reason.CHILD_REJECTED,
        f"Pods can't be created: {deployment.refusal}",
        "Raise the namespace's ResourceQuota, or ask for less."
        if is_quota
        else "A policy or a missing service account refuses them: correct spec.pod, or ask who set the policy.",
        since=deployment.refused_since,
    )


def _unschedulable(pods: Sequence[ObservedPod], placement: Placement, capacity: Capacity) -> Failure | None:
    waiting = sorted((pod for pod in pods if pod.unschedulable_since is not None), key=lambda pod: pod.name)
    if not waiting:
        return None
    shortage = explain_unschedulable(placement, capacity, len(waiting), waiting[0].scheduler_message)
    since = min(pod.unschedulable_since or "" for pod in waiting)
    return Failure(shortage.reason, shortage.message, shortage.hint, waiting[0].name, since=since)


def _failed_pod(pods: Sequence[ObservedPod]) -> Failure | None:
    """The first pod that a node refused or ended since the last one that became ready; the Deployment replaces it, but
    it stays as a witness. The first, because in a loop of refusals every later one would be another status."""
    latest_ready = max((pod.created_at for pod in pods if pod.is_ready and pod.created_at is not None), default=None)
    failed = [
        (pod.created_at, pod.name, pod)
        for pod in pods
        if pod.phase == "Failed" and pod.phase_reason and pod.created_at is not None and not pod.is_terminating
        if latest_ready is None or pod.created_at >= latest_ready
    ]
    if not failed:
        return None
    created_at, _, pod = min(failed, key=lambda found: found[:2])
    reason, did, hint = _by_node(pod)
    message = f"Node {pod.node or '(unknown)'} {did} pod {pod.name}: {_text(pod.phase_message) or pod.phase_reason}"
    return Failure(reason, message, hint, pod.name, since=_moment(pod.readiness_changed_at or created_at))


def _by_node(pod: ObservedPod) -> tuple[Reason, str, str]:
    if pod.phase_reason in ENDED_BY_NODE:
        return Reason.EVICTED, "ended", "A new pod is started; if it happens again, give the node what it ran out of."
    if names.RESOURCE_NEURON in f"{pod.phase_reason} {pod.phase_message}":
        return (
            Reason.INSUFFICIENT_NEURON_CORES,
            "refused",
            "The scheduler counts NeuronCores there that the device plugin does not give: look at the plugin's pod on "
            "that node, and at the health of its devices.",
        )
    return Reason.UNSCHEDULABLE, "refused", "A new pod is tried; compare the node with it: kubectl describe pod."
