"""Every reason that the status of a pod or a Deployment can give, on a real API server: written as kubelets write it.

Some of it at its worst: huge, in any script, or of a model that only another CRD let in.
"""

import contextlib
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from integration.api_client import WAIT_S, Api, Body, condition, has_reason
from integration.conftest import CRD
from integration.models import model, settled
from local_control_plane import ControlPlane, OperatorProcess
from neuron_operator.reasons import LONGEST_MESSAGE, RUNTIME_REASONS

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("operator"), pytest.mark.timeout(300)]

RECONCILES = "neuron_serving_operator_reconcile_duration_seconds_count"
# What design and README promise: from the API server's event to the status that tells of it.
TELLS_WITHIN_S = 5.0
# How long a model that can't be helped is watched for looks that nobody asked for, and how many there may be.
WATCHED_S, FEW_LOOKS = 3.0, 3
CRD_NAME = "neuronmodels.neuron-serving.dev"


def ago(seconds: int) -> str:
    return (datetime.now(UTC) - timedelta(seconds=seconds)).strftime("%Y-%m-%dT%H:%M:%SZ")


def ended(code: int = 1, reason: str = "Error", message: str = "") -> Body:
    times = {"startedAt": ago(30), "finishedAt": ago(20)}
    return {"terminated": {"exitCode": code, "reason": reason, "message": message, **times}}


def waits(reason: str, message: str = "") -> Body:
    return {"waiting": {"reason": reason, "message": message}}


def container(name: str = "runtime", **more: Any) -> Body:
    return {"name": name, "image": "example.com/runtime:1", "imageID": "", "ready": False, "restartCount": 1, **more}


def crashing(name: str = "runtime", **end: Any) -> Body:
    return container(name, state=waits("CrashLoopBackOff"), lastState=ended(**end))


def told(reason: str) -> str:
    said = {
        "schemaVersion": 1,
        "reason": reason,
        "message": f"what is wrong: {reason}",
        "hint": "Do it.",
        "details": {},
    }
    return json.dumps(said)


def of_pod(kind: str, status: str = "False", **more: str) -> Body:
    return {"type": kind, "status": status, "lastTransitionTime": ago(10), **more}


@dataclass(frozen=True)
class Case:
    """What is written, to a pod or to the Deployment, and what the model then says."""

    reason: str
    words: str
    pod: Body = field(default_factory=dict)
    deployment: Body = field(default_factory=dict)
    stalled: str = "False"
    id: str = ""


def with_container(*containers: Body, **more: Any) -> Body:
    return {"phase": "Running", "containerStatuses": list(containers), **more}


def failed(reason: str, message: str) -> Body:
    return {"phase": "Failed", "reason": reason, "message": message}


NO_DEVICES = "Allocate failed due to requested number of devices unavailable for aws.amazon.com/neuroncore"
SCHEDULED = {"reason": "Unschedulable", "message": "0/1 nodes are available: 1 node(s) had untolerated taint(s)"}
RUNS: Body = {"state": {"running": {"startedAt": ago(60)}}, "started": True}
NO_QUOTA = 'pods "sentiment-1" is forbidden: exceeded quota: nothing, requested: pods=1'
NO_ACCOUNT = 'pods "sentiment-" is forbidden: error looking up service account x/nobody: not found'


def refused(message: str) -> Body:
    return {"conditions": [of_pod("ReplicaFailure", "True", reason="FailedCreate", message=message)]}


def late() -> Body:
    return {"conditions": [of_pod("Progressing", reason="ProgressDeadlineExceeded", message="has timed out")]}


CASES = [
    *(Case(str(r), f"what is wrong: {r}", with_container(crashing(message=told(r)))) for r in RUNTIME_REASONS),
    *(
        Case("ImagePullFailed", words, with_container(container(state=waits(waiting, message))), id=waiting)
        for waiting, message, words in (
            ("ErrImagePull", "example.com/runtime:1: not found", "does not exist in its registry"),
            ("ImagePullBackOff", "401 Unauthorized", "is refused by the registry"),
            ("InvalidImageName", "couldn't parse image name", "is no valid image name"),
            ("ErrImageNeverPull", "", "is not on the node and may not be pulled"),
        )
    ),
    *(
        Case("ContainerConfigError", "no key", with_container(container(state=waits(waiting, "no key"))), id=waiting)
        for waiting in ("CreateContainerConfigError", "CreateContainerError", "RunContainerError")
    ),
    Case("OutOfMemory", "more host memory than", with_container(crashing(code=137, reason="OOMKilled")), id="killed"),
    Case("CrashLoop", "exit code 3", with_container(crashing(code=3)), id="exit-code"),
    Case("CrashLoop", "exit code 0, although", with_container(crashing("app", code=0)), id="ends-well"),
    Case("ProbeFailing", "startup probe", with_container(crashing(code=137)), id="killed-before-ready"),
    Case(
        "ProbeFailing",
        "readiness probe fails, after it had been ready",
        with_container(container(**RUNS), conditions=[of_pod("Ready"), of_pod("ContainersReady")]),
        id="not-ready-any-more",
    ),
    Case("Evicted", "low on memory", failed("Evicted", "The node was low on memory.")),
    Case("Unschedulable", "NodeAffinity", failed("NodeAffinity", "Predicate NodeAffinity failed")),
    Case("InsufficientNeuronCores", "Allocate failed", failed("UnexpectedAdmissionError", NO_DEVICES)),
    Case("NoNeuronNodes", "no node of type", {"phase": "Pending", "conditions": [of_pod("PodScheduled", **SCHEDULED)]}),
    Case("QuotaExceeded", "exceeded quota: nothing", deployment=refused(NO_QUOTA)),
    Case("ChildRejected", "error looking up service account", deployment=refused(NO_ACCOUNT)),
    Case("RolloutStalled", "No progress for", deployment=late(), stalled="True"),
    Case(
        "CrashLoop",
        "exit code 3",
        with_container(crashing(code=3)),
        late(),
        "True",
        "past-the-deadline",
    ),
]  # fmt: skip


def write_statuses(api: Api, case: Case) -> None:
    if case.pod:
        template = api.get("deployments", "sentiment")["spec"]["template"]
        metadata = {**template["metadata"], "name": "sentiment-1"}
        api.create("pods", {"apiVersion": "v1", "kind": "Pod", **template, "metadata": metadata})
        api.merge("pods", "sentiment-1", {"status": case.pod}, "/status")
    if case.deployment or case.pod.get("phase") == "Failed":
        generation = api.get("deployments", "sentiment")["metadata"]["generation"]
        status = {"observedGeneration": generation, "replicas": 2, "updatedReplicas": 2, **case.deployment}
        api.merge("deployments", "sentiment", {"status": status}, "/status")


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.reason}-{case.id}" if case.id else case.reason)
def test_a_reason_is_told_in_its_words_within_seconds_and_kept_after_recovery(api: Api, case: Case) -> None:
    settled(api, model())
    started = time.monotonic()
    write_statuses(api, case)
    failing = api.wait_for(
        "neuronmodels",
        "sentiment",
        lambda body: has_reason(case.reason)(body) and condition(body, "Stalled")["status"] == case.stalled,
    )
    assert time.monotonic() - started <= TELLS_WITHIN_S
    message = condition(failing)["message"]
    assert case.words in message
    assert message.endswith(f"/{case.reason}.")
    assert [condition(failing, kind)["reason"] for kind in ("Ready", "Reconciling", "Stalled")] == [case.reason] * 3
    if case.reason != "RolloutStalled":
        assert failing["status"]["lastFailure"]["reason"] == case.reason
        let_it_serve(api, case)
        # The watches of pods and Deployments are two: which of them tells first is not known.
        served = api.wait_for("neuronmodels", "sentiment", lambda body: "recoveredAt" in body["status"]["lastFailure"])
        last = served["status"]["lastFailure"]
        assert (last["reason"], last["recoveredAt"]) == (case.reason, RECOVERED_AT)
        assert has_reason("Serving")(served)


RECOVERED_AT = "2026-01-02T03:04:05Z"


def let_it_serve(api: Api, case: Case) -> None:
    """Another pod in the place of the one that failed, and the Deployment's word that all are available."""
    if case.pod:
        api.delete("pods", "sentiment-1")
    template = api.get("deployments", "sentiment")["spec"]["template"]
    api.create(
        "pods", {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": "another"}}
    )
    common = {"status": "True", "lastTransitionTime": RECOVERED_AT}
    conditions = [{"type": kind, **common} for kind in ("ContainersReady", "Ready")]
    api.merge("pods", "another", {"status": {"phase": "Running", "conditions": conditions}}, "/status")
    generation = api.get("deployments", "sentiment")["metadata"]["generation"]
    counts = dict.fromkeys(("replicas", "updatedReplicas", "readyReplicas", "availableReplicas"), 2)
    status = {"observedGeneration": generation, **counts, "conditions": []}
    api.merge("deployments", "sentiment", {"status": status}, "/status")


HUGE = "x" * 200_000
SAID = json.dumps({"reason": "ModelLoadFailed", "message": "漢字 🙂\u0000\u0001 " * 300, "hint": "🙂" * 900})
HALVES = json.dumps({"reason": "DiskFull", "message": "half \ud83d a character", "hint": "\ude42"})
WORST = [
    pytest.param(with_container(container(HUGE, state=waits("ErrImagePull", HUGE))), "ImagePullFailed", id="huge-name"),
    pytest.param(
        with_container(container(image=HUGE, state=waits("ErrImagePull", HUGE))), "ImagePullFailed", id="huge-image"
    ),
    pytest.param(
        with_container(container(state=waits("CreateContainerError", HUGE))), "ContainerConfigError", id="huge-message"
    ),
    pytest.param(with_container(crashing(message=SAID)), "ModelLoadFailed", id="any-script"),
    pytest.param(with_container(crashing(message=HALVES)), "DiskFull", id="halves-of-characters"),
    pytest.param(with_container(crashing(message="\ufffd" * 4096)), "CrashLoop", id="no-text"),
    pytest.param(with_container(crashing(message="[" * 4096)), "CrashLoop", id="no-json"),
    pytest.param(
        with_container(crashing(message='{"reason": "Serving"}')), "CrashLoop", id="no-reason-of-the-runtimes"
    ),
    pytest.param(with_container(crashing(code=-(2**31), reason=HUGE)), "CrashLoop", id="strange-code"),
    pytest.param(failed("Evicted", "🙂" * 90_000), "Evicted", id="huge-eviction"),
]


@pytest.mark.parametrize(("status", "reason"), WORST)
def test_the_worst_that_a_kubelet_can_write_is_told_within_the_limits_of_the_status(
    api: Api, status: Body, reason: str
) -> None:
    settled(api, model())
    write_statuses(api, Case(reason, "", status))
    failing = api.wait_for("neuronmodels", "sentiment", has_reason(reason))
    assert len(condition(failing)["message"].encode()) <= LONGEST_MESSAGE
    assert condition(failing)["message"].endswith(f"/{reason}.")
    api.wait_for_any("events", f"reason={reason}")


def is_served(api: Api, *, is_strict: bool) -> bool:
    """By the CRD as it is now: for each version of it the API server opens its storage anew and answers 429."""
    refusal = api.try_create("neuronmodels", {**model(), "spec": {}}).status_code
    with contextlib.suppress(AssertionError):
        api.every("neuronmodels")
        return refusal == (422 if is_strict else 201)
    return False


def wait_until_served(api: Api, *, is_strict: bool) -> None:
    deadline = time.monotonic() + WAIT_S
    while not is_served(api, is_strict=is_strict):
        assert time.monotonic() < deadline, "the API server goes on with the CRD it had"
        time.sleep(0.1)


@pytest.fixture
def crd_of_another_release(api_server: ControlPlane, api: Api) -> Iterator[None]:
    """One that lets anything into spec, as a hand-edited or a later one may."""
    path = "/spec/versions/0/schema/openAPIV3Schema/properties/spec"
    anything = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    patch = [{"op": "replace", "path": path, "value": anything}]
    api_server.kubectl("patch", "crd", CRD_NAME, "--type=json", "-p", json.dumps(patch))
    wait_until_served(api, is_strict=False)
    yield
    api_server.kubectl("delete", "neuronmodels", "--all", "-n", api.namespace)
    api_server.kubectl("replace", "-f", str(CRD))
    wait_until_served(api, is_strict=True)


def looks_in_a_while(operator: OperatorProcess) -> float:
    before = operator.metric(RECONCILES)
    time.sleep(WATCHED_S)
    return operator.metric(RECONCILES) - before


@pytest.mark.usefixtures("crd_of_another_release")
def test_a_spec_that_only_the_operator_finds_wrong_is_told_by_its_field_and_not_tried_again(
    api: Api, operator: OperatorProcess
) -> None:
    uri = "https://models.example/sentiment/"
    wrong = {
        "nothing": ({}, "spec.artifact: required; spec.neuronCores: required"),
        "cores": ({"artifact": {"uri": uri}, "neuronCores": "two"}, "spec.neuronCores"),
        "deep": ({"artifact": {"uri": uri}, "neuronCores": 2, "pod": {"env": [{"name": 7}]}}, "spec.pod.env[0].name"),
        "huge": ({"artifact": {"uri": "x" * 100_000}, "neuronCores": 2}, "spec.artifact.uri"),
    }
    for name, (spec, words) in wrong.items():
        api.create("neuronmodels", {**model(name), "spec": spec})
        stalled = api.wait_for("neuronmodels", name, has_reason("InvalidSpec"))
        assert [condition(stalled, kind)["status"] for kind in ("Ready", "Reconciling", "Stalled")] == [
            "False",
            "False",
            "True",
        ]
        assert words in condition(stalled)["message"]
        assert len(condition(stalled)["message"]) <= LONGEST_MESSAGE
        assert api.find("deployments", name) is None
    assert looks_in_a_while(operator) <= FEW_LOOKS
    api.merge("neuronmodels", "cores", {"spec": {"neuronCores": 2}})
    api.wait_for("neuronmodels", "cores", has_reason("Progressing"))


@pytest.mark.usefixtures("crd_of_another_release")
def test_what_served_goes_on_as_it_is_while_the_spec_is_wrong(api: Api) -> None:
    settled(api, model())
    before = api.get("deployments", "sentiment")
    api.merge("neuronmodels", "sentiment", {"spec": {"neuronCores": "two", "replicas": 5}})
    api.wait_for("neuronmodels", "sentiment", has_reason("InvalidSpec"))
    assert api.get("deployments", "sentiment")["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]


def test_text_of_any_script_reaches_the_pods(api: Api) -> None:
    note = "Übergröße 漢字 🙂 \x7f \u200f \\ud83d"
    settled(api, model(pod={"annotations": {"example.com/note": note}, "env": [{"name": "NOTE", "value": note}]}))
    template = api.get("deployments", "sentiment")["spec"]["template"]
    assert template["metadata"]["annotations"]["example.com/note"] == note
    assert {"name": "NOTE", "value": note} in template["spec"]["containers"][0]["env"]
