"""Pods, Deployments and nodes as the API server sends them; valid by default, overrides win."""

from typing import Any

from neuron_operator.revisions import ANNOTATION_REVISION

Body = dict[str, Any]
T0 = "2026-01-01T00:00:00Z"


def container(name: str = "runtime", state: Body | None = None, **more: Any) -> Body:
    return {"name": name, "image": "example.com/runtime:1", "state": state or {}, **more}


def waiting(reason: str, message: str = "") -> Body:
    return {"waiting": {"reason": reason, "message": message}}


def running(since: str = T0) -> Body:
    return {"running": {"startedAt": since}}


def terminated(exit_code: int = 1, reason: str = "Error", message: str = "", since: str = T0) -> Body:
    ended = {"exitCode": exit_code, "reason": reason, "message": message, "startedAt": since, "finishedAt": since}
    return {"terminated": ended}


def condition(kind: str, status: str, at: str = T0, **more: Any) -> Body:
    return {"type": kind, "status": status, "lastTransitionTime": at, **more}


def pod(name: str = "pod-1", *containers: Body, init: tuple[Body, ...] = (), revision: str = "", **status: Any) -> Body:
    return {
        "metadata": {"name": name, "annotations": {ANNOTATION_REVISION: revision}},
        "status": {
            "phase": "Running",
            "initContainerStatuses": list(init),
            "containerStatuses": list(containers),
            **status,
        },
    }


def failed_pod(name: str, reason: str, message: str, created: str = T0) -> Body:
    """As the kubelet leaves a pod that it refused or evicted: nothing in it runs, nothing restarts it."""
    body = pod(name, phase="Failed", reason=reason, message=message)
    body["metadata"]["creationTimestamp"] = created
    body["spec"] = {"nodeName": "n1"}
    return body


def unschedulable_pod(name: str = "pod-1", message: str = "0/1 nodes are available", **more: Any) -> Body:
    scheduled = condition("PodScheduled", "False", reason="Unschedulable", message=message)
    return pod(name, phase="Pending", conditions=[scheduled], **more)


def deployment(generation: int = 1, observed: int = 1, conditions: tuple[Body, ...] = (), **counts: int) -> Body:
    status = {"observedGeneration": observed, "conditions": list(conditions), **counts}
    metadata = {"name": "sentiment", "generation": generation}
    return {"metadata": metadata, "spec": {"replicas": 2}, "status": status}


def node(name: str = "n1", instance_type: str = "inf2.xlarge", cores: int = 2, **over: Any) -> Body:
    return {
        "metadata": {
            "name": name,
            "resourceVersion": "1",
            "labels": {"node.kubernetes.io/instance-type": instance_type},
        },
        "spec": {"unschedulable": False, "taints": [], **over.get("spec", {})},
        "status": {"allocatable": {"aws.amazon.com/neuroncore": str(cores)}, "ready": over.get("ready", True)},
    }
