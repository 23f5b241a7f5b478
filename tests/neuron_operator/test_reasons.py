"""One reason per cause, most specific first, stable words; the runtime's own words where it left them."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from model_builders import model, placement_of
from neuron_operator.api.conditions import Reason
from neuron_operator.capacity import Capacity, Requests
from neuron_operator.observe import observe_deployment, observe_node, observe_pods
from neuron_operator.reasons import RUNTIME_REASONS, Failure, find_failure, parse_termination_message, with_runbook
from observed import (
    T0,
    condition,
    container,
    deployment,
    failed_pod,
    node,
    pod,
    running,
    terminated,
    unschedulable_pod,
    waiting,
)

ROOT = Path(__file__).parents[2]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLACEMENT = placement_of(model(neuronCores=2, placement={"instanceTypes": ["inf2.xlarge"]}))


def failure_of(*pods: dict[str, Any], seconds: float = 0, capacity: Capacity | None = None, of: Any = None) -> Any:
    return find_failure(
        observe_pods(pods), observe_deployment(of), PLACEMENT, capacity or Capacity(), NOW + timedelta(seconds=seconds)
    )


def told(reason: str, **more: str) -> str:
    return json.dumps({"schemaVersion": 1, "reason": reason, "message": "what", "hint": "next", **more})


CONTAINERS = [
    pytest.param(container(state=waiting("ErrImagePull", "not found")), "ImagePullFailed", id="image-missing"),
    pytest.param(container(state=waiting("ImagePullBackOff")), "ImagePullFailed", id="image-back-off"),
    pytest.param(container(state=waiting("InvalidImageName")), "ImagePullFailed", id="image-name"),
    pytest.param(container(state=waiting("CreateContainerConfigError")), "ContainerConfigError", id="config"),
    pytest.param(container(state=terminated(137, "OOMKilled")), "OutOfMemory", id="oom"),
    pytest.param(container(state=terminated(0, "OOMKilled")), "OutOfMemory", id="oom-of-a-child-process"),
    pytest.param(container(state=waiting("CrashLoopBackOff"), lastState=terminated(2)), "CrashLoop", id="crash-loop"),
    pytest.param(container(state=running(), lastState=terminated(2)), "CrashLoop", id="between-two-crashes"),
    pytest.param(container(state=terminated(0, "Completed")), "CrashLoop", id="ended-as-if-it-were-done"),
    pytest.param(container(state=waiting("CrashLoopBackOff"), lastState=terminated(0)), "CrashLoop", id="and-again"),
    pytest.param(container(state=waiting("CrashLoopBackOff"), lastState=terminated(137)), "ProbeFailing", id="killed"),
    pytest.param(container(state=running(), lastState=terminated(143)), "ProbeFailing", id="told-to-stop"),
    *(
        pytest.param(
            container(state=waiting("CrashLoopBackOff"), lastState=terminated(3, message=told(reason))),
            reason,
            id=reason,
        )
        for reason in (
            "ArtifactNotFound", "ArtifactUnauthorized", "ArtifactUnreachable", "ArtifactCorrupt", "ArtifactTooLarge",
            "DiskFull", "ModelLoadFailed", "NeuronCoresBusy", "CompilerVersionMismatch", "OutOfMemory", "HardwareError",
            "InvalidConfiguration", "OutOfDeviceMemory",
        )
    ),
]  # fmt: skip


@pytest.mark.parametrize(("status", "reason"), CONTAINERS)
def test_the_reason_of_a_container(status: dict[str, Any], reason: str) -> None:
    found = failure_of(pod("pod-1", status))
    assert isinstance(found, Failure)
    assert (found.reason, found.pod, found.container) == (reason, "pod-1", "runtime")
    assert found.sentence.startswith(found.message.rstrip("."))
    assert "(pod pod-1, container runtime)" in found.sentence
    assert found.hint in found.sentence != ""


HEALTHY = [
    pytest.param(container(state=running(), ready=True, started=True), id="ready"),
    pytest.param(container(state=running()), id="starting"),
    pytest.param(container(state=waiting("ContainerCreating")), id="creating"),
    pytest.param(container(state=waiting("PodInitializing")), id="initializing"),
]


@pytest.mark.parametrize("status", HEALTHY)
def test_what_is_no_failure(status: dict[str, Any]) -> None:
    assert failure_of(pod("pod-1", status)) is None


@pytest.mark.parametrize(("seconds", "holds"), [(0, True), (9.9, True), (10, False), (3600, False)])
def test_a_reason_holds_until_the_container_was_ready_for_ten_seconds(seconds: float, holds: bool) -> None:
    crashed_before = container(state=running(), lastState=terminated(2), ready=True, started=True)
    found = failure_of(pod("pod-1", crashed_before, conditions=[condition("ContainersReady", "True")]), seconds=seconds)
    assert (found is not None) == holds
    assert not holds or found.holds_until == NOW + timedelta(seconds=10)


def test_a_container_that_has_just_started_was_not_ready_for_as_long_as_its_pod_was_not() -> None:
    """The pod's readiness last changed when it was created: another of its containers has never been ready."""
    again = container("app", state=running("2026-01-01T00:01:00Z"), lastState=terminated(2), ready=True, started=True)
    loading = container(state=running(), ready=False, started=False)
    found = failure_of(pod("pod-1", loading, again, conditions=[condition("ContainersReady", "False")]), seconds=61)
    assert found is not None
    assert found.holds_until == NOW + timedelta(seconds=70)


def test_a_pod_that_was_ready_and_is_not_any_more_fails_its_probe_whatever_happened_before() -> None:
    status = container(state=running(T0), lastState=terminated(2), ready=False, started=True)
    unready = condition("ContainersReady", "False", "2026-01-01T01:00:00Z")
    assert failure_of(pod("pod-1", status, conditions=[unready])).reason == Reason.PROBE_FAILING


@pytest.mark.parametrize(
    ("unready_since", "reason"),
    [("2025-12-31T23:59:00Z", "ProbeFailing"), ("2026-01-01T00:05:00Z", "CrashLoop")],
    ids=["never-ready", "had-been-ready"],
)
def test_a_container_killed_before_it_was_ever_ready_names_the_startup_probe(unready_since: str, reason: str) -> None:
    killed = container(state=waiting("CrashLoopBackOff"), lastState=terminated(137, since=T0))
    unready = condition("ContainersReady", "False", unready_since)
    found = failure_of(pod("pod-1", killed, conditions=[unready]))
    assert found.reason == reason
    assert ("startup probe" in found.sentence) == (reason == "ProbeFailing")
    assert "--previous" in found.hint


def test_an_init_container_that_succeeded_at_last_is_no_failure_any_more() -> None:
    fetched = container("fetch", terminated(0, "Completed"), lastState=terminated(3))
    assert failure_of(pod("pod-1", container(state=running()), init=(fetched,))) is None


def test_the_most_specific_of_several_reasons_is_told_and_pods_are_taken_by_name() -> None:
    crash = container(state=waiting("CrashLoopBackOff"), lastState=terminated(1))
    corrupt = container("fetch", waiting("CrashLoopBackOff"), lastState=terminated(1, message=told("ArtifactCorrupt")))
    assert failure_of(pod("a", crash), pod("c", init=(corrupt,)), pod("b", init=(corrupt,))).pod == "b"


def test_pods_that_end_do_not_count() -> None:
    leaving = pod("a", container(state=terminated(143)))
    leaving["metadata"]["deletionTimestamp"] = T0
    assert failure_of(leaving) is None


SHORT = deployment(replicas=2, readyReplicas=1, availableReplicas=1)
UNAVAILABLE = (
    "Pod was rejected: Allocate failed due to requested number of devices unavailable for aws.amazon.com/neuroncore. "
    "Requested: 2, Available: 0, which is unexpected"
)
LOW = "The node was low on resource: ephemeral-storage. "
FAILED = [
    pytest.param("UnexpectedAdmissionError", UNAVAILABLE, "InsufficientNeuronCores", id="device-plugin"),
    pytest.param("OutOfaws.amazon.com/neuroncore", "Pod was rejected", "InsufficientNeuronCores", id="out-of-cores"),
    pytest.param("UnexpectedAdmissionError", "Pod was rejected: no cpuset", "Unschedulable", id="admission"),
    pytest.param("NodeAffinity", "Pod was rejected: Predicate NodeAffinity failed", "Unschedulable", id="affinity"),
    pytest.param("OutOfcpu", "Pod was rejected: Node didn't have enough resource", "Unschedulable", id="cpu"),
    pytest.param("Evicted", LOW, "Evicted", id="evicted"),
    pytest.param("Terminated", "Pod was terminated in response to imminent node shutdown.", "Evicted", id="shutdown"),
]


@pytest.mark.parametrize(("said", "message", "reason"), FAILED)
def test_a_pod_that_a_node_refused_or_ended_is_told(said: str, message: str, reason: str) -> None:
    found = failure_of(failed_pod("pod-1", said, message), pod("pod-2"), of=SHORT)
    assert (found.reason, found.pod) == (reason, "pod-1")
    assert message.strip().rstrip(".") in found.sentence
    assert "n1" in found.sentence
    assert found.since == T0
    assert found.hint


def ready_pod(created: str) -> dict[str, Any]:
    body = pod("ready", conditions=[condition("Ready", "True")])
    body["metadata"]["creationTimestamp"] = created
    return body


FIRST, SECOND = "2026-01-01T00:00:01Z", "2026-01-01T00:00:02Z"


@pytest.mark.parametrize(
    ("others", "of", "is_told"),
    [
        pytest.param([], SHORT, True, id="alone"),
        pytest.param([ready_pod(T0)], SHORT, True, id="an-earlier-pod-serves"),
        pytest.param([ready_pod(FIRST)], SHORT, True, id="one-of-the-same-second-serves"),
        pytest.param([ready_pod(SECOND)], SHORT, False, id="a-later-pod-became-ready"),
        pytest.param([ready_pod(T0)], deployment(replicas=2, availableReplicas=2), False, id="no-replica-is-missing"),
        pytest.param([ready_pod(T0)], None, False, id="no-deployment"),
    ],
)
def test_a_failed_pod_counts_until_a_later_one_is_ready(
    others: list[dict[str, Any]], of: dict[str, Any] | None, is_told: bool
) -> None:
    found = failure_of(failed_pod("pod-1", "Evicted", LOW, FIRST), *others, of=of)
    assert (found is not None) == is_told


def test_a_pod_that_runs_explains_more_than_one_that_failed() -> None:
    crash = pod("b", container(state=waiting("CrashLoopBackOff"), lastState=terminated(1)))
    assert failure_of(failed_pod("a", "Evicted", LOW), crash, of=SHORT).reason == Reason.CRASH_LOOP


def test_of_many_failed_pods_the_same_one_is_told_however_many_follow() -> None:
    refused = [failed_pod("z", "NodeAffinity", "first", FIRST), failed_pod("a", "NodeAffinity", "second", SECOND)]
    assert [failure_of(*refused[:count], of=SHORT).pod for count in (1, 2)] == ["z", "z"]


@pytest.mark.parametrize(
    "text",
    ["", "Traceback…", "[]", "null", '{"reason": 5}', '{"reason": "MadeUp"}', '{"reason": ["CrashLoop"]}', "[" * 4000],
)
def test_a_message_that_is_not_the_runtimes_is_not_believed(text: str) -> None:
    assert parse_termination_message(text) is None


def test_every_reason_of_the_schema_is_believed_and_no_other() -> None:
    schema = json.loads((ROOT / "docs/reference/termination-message.schema.json").read_text())
    assert set(schema["$defs"]["Reason"]["enum"]) == set(RUNTIME_REASONS)


def test_a_message_with_strange_parts_is_still_read() -> None:
    text = json.dumps({"reason": "DiskFull", "message": "a\n b " + "x" * 5000, "hint": 7})
    parsed = parse_termination_message(text)
    assert parsed is not None
    assert parsed[0] == Reason.DISK_FULL
    assert parsed[1].startswith("a b x")
    assert (len(parsed[1]), parsed[2]) == (1024, "")


@pytest.mark.parametrize(
    ("message", "words"),
    [
        ("401 Unauthorized", "is refused by the registry"),
        ("example.com/runtime:1: not found", "does not exist"),
        ("dial tcp: i/o timeout", "can't be pulled"),
    ],
)
def test_an_image_failure_says_which_kind(message: str, words: str) -> None:
    found = failure_of(pod("pod-1", container(state=waiting("ErrImagePull", message))))
    assert found.message == f"Image example.com/runtime:1 {words}" or words in found.message


@pytest.mark.parametrize(
    ("message", "reason"),
    [('pods "x" is forbidden: exceeded quota: q', "QuotaExceeded"), ("denied by policy", "ChildRejected")],
)
def test_pods_that_cannot_be_created(message: str, reason: str) -> None:
    refused = deployment(conditions=(condition("ReplicaFailure", "True", message=message),))
    found = failure_of(of=refused)
    assert found.reason == reason
    assert found.since == T0


def capacity(*nodes: dict[str, Any], used: dict[str, Requests] | None = None) -> Capacity:
    return Capacity(tuple(observe_node(body) for body in nodes), used if used is not None else {})


BUSY = {"n1": Requests(cores=1)}
TAINTED = "0/1 nodes are available: 1 node(s) had untolerated taint {gpu: true}"
WITHOUT_A_NODE = [
    pytest.param(capacity(), "", "NoNeuronNodes", id="no-nodes"),
    pytest.param(capacity(node(instance_type="inf2.48xlarge", cores=24)), "", "NoNeuronNodes", id="other-type"),
    pytest.param(capacity(node(cores=0)), "", "DevicePluginMissing", id="no-plugin"),
    pytest.param(capacity(node(), used=BUSY), "", "InsufficientNeuronCores", id="busy"),
    pytest.param(capacity(node(), used={"n1": Requests(devices=1)}), "", "InsufficientNeuronCores", id="whole-device"),
    pytest.param(capacity(node(ready=False)), "", "InsufficientNeuronCores", id="node-not-ready"),
    pytest.param(capacity(node(spec={"unschedulable": True})), "", "InsufficientNeuronCores", id="cordoned"),
    pytest.param(capacity(node()), TAINTED, "TaintNotTolerated", id="taint"),
    pytest.param(capacity(node()), "1 Insufficient cpu", "Unschedulable", id="cpu"),
    pytest.param(Capacity((observe_node(node()),)), "1 Insufficient aws.amazon.com/neuroncore",
                 "InsufficientNeuronCores", id="pods-unknown"),
]  # fmt: skip


@pytest.mark.parametrize(("nodes", "said", "reason"), WITHOUT_A_NODE)
def test_a_pod_without_a_node(nodes: Capacity, said: str, reason: str) -> None:
    assert failure_of(unschedulable_pod(message=said), capacity=nodes).reason == reason


def test_a_taint_is_named_though_the_scheduler_only_counts_it() -> None:
    taints = [
        {"key": "team", "value": "search", "effect": "NoSchedule"},
        {"key": "aws.amazon.com/neuron", "effect": "NoSchedule"},
        {"key": "spot", "effect": "PreferNoSchedule"},
    ]
    said = "0/1 nodes are available: 1 node(s) had untolerated taint(s). preemption: 0/1 are available."
    found = failure_of(unschedulable_pod(message=said), capacity=capacity(node(spec={"taints": taints})))
    assert found.message.endswith("are available; not tolerated: team=search:NoSchedule.")


def test_too_few_cores_says_how_many_are_asked_free_and_missing() -> None:
    nodes = capacity(node("n1"), node("n2"), used={"n1": Requests(cores=1), "n2": Requests(cores=2)})
    found = failure_of(unschedulable_pod("a"), unschedulable_pod("b"), capacity=nodes)
    assert found.message == (
        "2 pods without a node: each asks for 2 NeuronCores on one node; "
        "inf2.xlarge (2 nodes): at most 1 free on one, 1 missing."
    )
    assert found.hint == "Scale down or delete another model, or add a node."


LONG = "x" * 5000
URL = "https://neuron-serving.dev/runbook"
LINKED = [
    pytest.param(Reason.CRASH_LOOP, "It crashed.", URL, f"It crashed. Runbook: {URL}/CrashLoop.", id="a-sentence"),
    pytest.param(Reason.INVALID_SPEC, "Correct it", URL, f"Correct it. Runbook: {URL}/InvalidSpec.", id="no-full-stop"),
    pytest.param(Reason.EVICTED, "Ended.", f"{URL}/", f"Ended. Runbook: {URL}/Evicted.", id="url-with-a-slash"),
    pytest.param(Reason.EVICTED, "Ended.", "", "Ended.", id="no-url"),
    pytest.param(Reason.SERVING, "2 of 2 replicas serve.", URL, "2 of 2 replicas serve.", id="nothing-is-wrong"),
    pytest.param(Reason.PROGRESSING, "Being created.", URL, "Being created.", id="nothing-is-wrong-yet"),
]


@pytest.mark.parametrize(("reason", "message", "url", "told"), LINKED)
def test_a_message_ends_with_the_link_to_its_page(reason: Reason, message: str, url: str, told: str) -> None:
    assert with_runbook(reason, message, url) == told


def test_a_long_cause_is_cut_and_neither_the_next_step_nor_the_link() -> None:
    failure = Failure(Reason.MODEL_LOAD_FAILED, LONG, "Trace it again.", "pod-1", "runtime")
    told = with_runbook(failure.reason, failure.sentence, URL)
    assert told.startswith("xxx")
    assert told.endswith(f"x… (pod pod-1, container runtime). Trace it again. Runbook: {URL}/ModelLoadFailed.")
    assert 700 < len(told) <= 1024


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(
            failure_of(pod("pod-1", container(state=waiting("CreateContainerConfigError", LONG)))), id="a-kubelet"
        ),
        pytest.param(
            failure_of(of=deployment(conditions=(condition("ReplicaFailure", "True", message=LONG),))), id="a-policy"
        ),
        pytest.param(failure_of(failed_pod("pod-1", "Evicted", LONG), of=SHORT), id="a-node"),
    ],
)
def test_what_the_cluster_says_at_length_fits_the_status(found: Failure) -> None:
    assert len(found.message) <= 1024
    assert found.hint in found.sentence
