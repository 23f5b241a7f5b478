"""The status on a real API server: Deployments, pods and nodes are set by hand, as their controllers would."""

import json
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from statistics import median
from typing import Any

import pytest

from integration.api_client import Api, Body, condition, has_reason
from integration.models import model, settled

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("operator"), pytest.mark.timeout(300)]

CORES = "aws.amazon.com/neuroncore"
# What design and README promise: from the API server's event to the status that tells of it.
TELLS_WITHIN_S = 5.0


def now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(told: str) -> datetime:
    return datetime.fromisoformat(told)


def set_deployment_status(api: Api, ready: int, **more: Any) -> None:
    generation = api.get("deployments", "sentiment")["metadata"]["generation"]
    counts = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": ready, "availableReplicas": ready}
    api.merge("deployments", "sentiment", {"status": {"observedGeneration": generation, **counts, **more}}, "/status")


def create_pod(api: Api, name: str, **status: Any) -> None:
    template = api.get("deployments", "sentiment")["spec"]["template"]
    api.create(
        "pods", {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": name}}
    )
    set_pod_status(api, name, **status)


def set_pod_status(api: Api, name: str, **status: Any) -> None:
    api.merge("pods", name, {"status": status}, "/status")


def unschedulable(message: str) -> Body:
    scheduled = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}
    return {"phase": "Pending", "conditions": [{**scheduled, "lastTransitionTime": now()}]}


def container_status(name: str, **more: Any) -> Body:
    return {"name": name, "image": "example.com/runtime:1", "imageID": "", "ready": False, "restartCount": 1, **more}


@pytest.fixture
def node(api: Api) -> Any:
    labels = {"node.kubernetes.io/instance-type": "inf2.xlarge"}
    name = f"node-{api.namespace}"
    api.create(
        "nodes", {"apiVersion": "v1", "kind": "Node", "metadata": {"name": name, "labels": labels}}, is_namespaced=False
    )
    yield name
    api.delete("nodes", name, is_namespaced=False)


def set_cores(api: Api, node: str, cores: int) -> None:
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": now(), "reason": "KubeletReady", "message": ""}
    status = {"allocatable": {CORES: str(cores)}, "capacity": {CORES: "2"}, "conditions": [ready]}
    api.merge("nodes", node, {"status": status}, "/status", is_namespaced=False)
    api.merge("nodes", node, {"spec": {"taints": None}}, is_namespaced=False)


def test_a_model_serves_when_every_replica_is_available(api: Api) -> None:
    settled(api, model())
    set_deployment_status(api, ready=1)
    partly = api.wait_for("neuronmodels", "sentiment", lambda body: body["status"].get("summary") == "1/2")
    assert condition(partly)["status"] == "False"
    set_deployment_status(api, ready=2)
    serving = api.wait_for("neuronmodels", "sentiment", has_reason("Serving"))
    assert [condition(serving, kind)["status"] for kind in ("Ready", "Reconciling", "Stalled")] == [
        "True",
        "False",
        "False",
    ]
    assert serving["status"]["observedGeneration"] == serving["metadata"]["generation"]
    scale = api.get("neuronmodels", "sentiment/scale")
    assert (scale["status"]["replicas"], scale["status"]["selector"]) == (2, "neuron-serving.dev/model=sentiment")


def test_a_wrong_instance_type_is_final_until_it_is_corrected_and_children_stay(api: Api) -> None:
    settled(api, model())
    before = api.get("deployments", "sentiment")["metadata"]["resourceVersion"]
    api.merge("neuronmodels", "sentiment", {"spec": {"placement": {"instanceTypes": ["inf2.6xlarge"]}}})
    stalled = api.wait_for("neuronmodels", "sentiment", has_reason("NoMatchingInstanceType"))
    assert condition(stalled, "Stalled")["status"] == "True"
    assert "inf2.8xlarge" in condition(stalled)["message"]
    assert api.get("deployments", "sentiment")["metadata"]["resourceVersion"] == before
    api.merge("neuronmodels", "sentiment", {"spec": {"placement": {"instanceTypes": ["inf2.8xlarge"]}}})
    corrected = api.wait_for("neuronmodels", "sentiment", has_reason("Progressing"))
    assert condition(corrected, "Stalled")["status"] == "False"


def test_a_suspended_model_says_so(api: Api) -> None:
    settled(api, model())
    api.merge("neuronmodels", "sentiment", {"spec": {"suspend": True}})
    api.wait_for("deployments", "sentiment", lambda body: body["spec"]["replicas"] == 0)
    set_deployment_status(api, 0, replicas=0, updatedReplicas=0)
    api.wait_for("neuronmodels", "sentiment", has_reason("Suspended"))


def test_the_message_of_the_fetch_container_is_told_and_remembered_after_recovery(api: Api) -> None:
    settled(api, model())
    said = {"schemaVersion": 1, "reason": "ArtifactNotFound", "message": "no model.json at URI", "hint": "Correct it."}
    told = json.dumps({**said, "details": {}})
    ended = {"exitCode": 3, "reason": "Error", "message": told, "startedAt": now(), "finishedAt": now()}
    waiting = {"reason": "CrashLoopBackOff", "message": "back-off 10s restarting failed container"}
    fetch = container_status("fetch", state={"waiting": waiting}, lastState={"terminated": ended})
    create_pod(api, "sentiment-1", phase="Pending", initContainerStatuses=[fetch])
    failing = api.wait_for("neuronmodels", "sentiment", has_reason("ArtifactNotFound"))
    assert condition(failing)["message"] == (
        "no model.json at URI (pod sentiment-1, container fetch). Correct it. "
        "Runbook: https://neuron-serving.dev/runbook/ArtifactNotFound."
    )
    assert failing["status"]["lastFailure"]["exitCode"] == 3
    ready = [{"type": kind, "status": "True", "lastTransitionTime": now()} for kind in ("Ready", "ContainersReady")]
    done = {"terminated": {"exitCode": 0, "reason": "Completed", "startedAt": now(), "finishedAt": now()}}
    set_pod_status(
        api, "sentiment-1", phase="Running", initContainerStatuses=[{**fetch, "state": done}], conditions=ready
    )
    set_deployment_status(api, ready=2)
    serving = api.wait_for("neuronmodels", "sentiment", has_reason("Serving"))
    assert serving["status"]["lastFailure"]["recoveredAt"] == ready[0]["lastTransitionTime"]
    api.wait_for_any("events", "reason=Serving")
    reasons = [event["reason"] for event in api.every("events")]
    # Between the two writes above the operator may have looked once more, and have found it progressing again.
    assert set(reasons) == {"ArtifactNotFound", "Progressing", "Serving"}
    assert (reasons.count("ArtifactNotFound"), reasons.count("Serving")) == (1, 1)


def test_a_crash_loop_does_not_flicker_and_ends_by_itself(api: Api) -> None:
    settled(api, model())
    ended = {"exitCode": 1, "reason": "Error", "startedAt": now(), "finishedAt": now()}
    running = container_status("runtime", state={"running": {"startedAt": now()}}, lastState={"terminated": ended})
    create_pod(api, "sentiment-1", phase="Running", containerStatuses=[running])
    api.wait_for("neuronmodels", "sentiment", has_reason("CrashLoop"))
    ready = [{"type": kind, "status": "True", "lastTransitionTime": now()} for kind in ("Ready", "ContainersReady")]
    steady = {**running, "ready": True, "started": True}
    set_pod_status(api, "sentiment-1", conditions=ready, containerStatuses=[steady])
    set_deployment_status(api, ready=2)
    api.wait_for("neuronmodels", "sentiment", lambda body: body["status"]["readyReplicas"] == 2)
    serving = api.wait_for("neuronmodels", "sentiment", has_reason("Serving"))
    steady_for = moment(condition(serving)["lastTransitionTime"]) - moment(ready[0]["lastTransitionTime"])
    assert steady_for >= timedelta(seconds=10), "the reason holds until the container stayed ready for ten seconds"


def test_a_pod_that_the_node_refuses_is_told_though_another_is_being_started(api: Api) -> None:
    settled(api, model())
    set_deployment_status(api, ready=0)
    words = f"Pod was rejected: Allocate failed due to requested number of devices unavailable for {CORES}"
    create_pod(api, "sentiment-1", phase="Failed", reason="UnexpectedAdmissionError", message=words)
    create_pod(api, "sentiment-2", phase="Pending")
    refused = api.wait_for("neuronmodels", "sentiment", has_reason("InsufficientNeuronCores"))
    assert words in condition(refused)["message"]
    set_deployment_status(api, ready=2)
    api.wait_for("neuronmodels", "sentiment", has_reason("Serving"))


def test_a_model_without_a_node_is_told_what_is_missing_as_nodes_change(api: Api, node: str) -> None:
    settled(api, model())
    set_cores(api, node, 0)
    create_pod(api, "sentiment-1", **unschedulable(f"0/1 nodes are available: 1 Insufficient {CORES}."))
    missing = api.wait_for("neuronmodels", "sentiment", has_reason("DevicePluginMissing"))
    assert condition(missing, "Reconciling")["status"] == "True"
    set_cores(api, node, 1)
    short = api.wait_for("neuronmodels", "sentiment", has_reason("InsufficientNeuronCores"))
    assert "asks for 2 NeuronCores on one node" in condition(short)["message"]
    assert "inf2.xlarge (1 node): at most 1 free on one, 1 missing" in condition(short)["message"]
    api.delete("pods", "sentiment-1")
    api.wait_for("neuronmodels", "sentiment", has_reason("Progressing"))


def test_a_model_without_any_neuron_node_says_so(api: Api) -> None:
    settled(api, model())
    create_pod(api, "sentiment-1", **unschedulable("0/0 nodes are available."))
    api.wait_for("neuronmodels", "sentiment", has_reason("NoNeuronNodes"))


def median_reaction_s(api: Api, changes: dict[str, Callable[[], None]], rounds: int) -> float:
    """Of several changes by turns, the median: for one of them a busy machine may have had no time at all."""
    took_s = []
    for reason, change in islice(cycle(changes.items()), rounds):
        started = time.monotonic()
        change()
        api.wait_for("neuronmodels", "sentiment", has_reason(reason))
        took_s.append(time.monotonic() - started)
    return median(took_s)


def test_a_reason_is_told_within_five_seconds_of_the_pods_status(api: Api) -> None:
    settled(api, model())
    create_pod(api, "sentiment-1", phase="Pending")

    def turn_to(reason: str, message: str) -> None:
        waiting = container_status("runtime", restartCount=0, state={"waiting": {"reason": reason, "message": message}})
        set_pod_status(api, "sentiment-1", containerStatuses=[waiting])

    changes = {
        "ImagePullFailed": lambda: turn_to("ImagePullBackOff", "not found"),
        "Progressing": lambda: turn_to("ContainerCreating", ""),
    }
    assert median_reaction_s(api, changes, rounds=5) <= TELLS_WITHIN_S


def test_missing_cores_are_told_within_five_seconds_of_the_nodes_status(api: Api, node: str) -> None:
    settled(api, model())
    set_cores(api, node, 1)
    create_pod(api, "sentiment-1", **unschedulable(f"0/1 nodes are available: 1 Insufficient {CORES}."))
    changes = {
        "DevicePluginMissing": lambda: set_cores(api, node, 0),
        "InsufficientNeuronCores": lambda: set_cores(api, node, 1),
    }
    assert median_reaction_s(api, changes, rounds=3) <= TELLS_WITHIN_S
