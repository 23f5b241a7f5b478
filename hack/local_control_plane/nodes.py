"""Nodes of Inferentia instances as EKS shows them, for kwok to run, and pods on them that fail when told to."""

import time
from collections.abc import Collection
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

from local_control_plane.client import STRATEGIC, Client
from local_control_plane.control_plane import ControlPlane

READY_TIMEOUT_S = 120.0
ZONES = ("us-east-1a", "us-east-1b")
TAINT = "aws.amazon.com/neuron"
# Cores, CPUs and GiB of memory; what kubelets keep for themselves is of no account here.
INSTANCES = {"inf2.xlarge": (2, 4, 16), "inf2.8xlarge": (2, 32, 128), "inf2.48xlarge": (24, 192, 768)}
PODS_OF_A_NODE = 250


def create_nodes(
    control_plane: ControlPlane, count: int, instance_type: str = "inf2.48xlarge", first: int = 0
) -> list[str]:
    """Their names, which end in numbers from `first` on, once the scheduler may use each of them.

    Wants the controller manager and kwok.
    """
    names = [f"{instance_type.replace('.', '-')}-{number}" for number in range(first, first + count)]
    with closing(Client(control_plane.kubeconfig)) as client:
        for number, name in enumerate(names):
            client.request("POST", "/api/v1/nodes", node(name, instance_type, ZONES[number % len(ZONES)]))
        _wait_until_usable(client, names)
    return names


def node(name: str, instance_type: str, zone: str) -> dict[str, Any]:
    cores, cpus, memory_gib = INSTANCES[instance_type]
    resources = {
        "aws.amazon.com/neuroncore": str(cores),
        "aws.amazon.com/neuron": str(cores // 2),
        "cpu": str(cpus),
        "memory": f"{memory_gib}Gi",
        "ephemeral-storage": "500Gi",
        "pods": str(PODS_OF_A_NODE),
    }
    labels = {
        "kubernetes.io/arch": "amd64",
        "kubernetes.io/hostname": name,
        "kubernetes.io/os": "linux",
        "node.kubernetes.io/instance-type": instance_type,
        "topology.kubernetes.io/region": zone[:-1],
        "topology.kubernetes.io/zone": zone,
    }
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": labels},
        "spec": {"taints": [{"key": TAINT, "value": "true", "effect": "NoSchedule"}]},
        "status": {"allocatable": resources, "capacity": resources},
    }


def fail_pod(control_plane: ControlPlane, namespace: str, name: str) -> None:
    """Its first container crashes and is not ready any more, until the pod is deleted."""
    with closing(Client(control_plane.kubeconfig)) as client:
        pod = client.request("GET", f"/api/v1/namespaces/{namespace}/pods/{name}")
        set_readiness(client, namespace, pod, is_ready=False)


def set_readiness(client: Client, namespace: str, pod: dict[str, Any], *, is_ready: bool) -> None:
    """The pod, as it was read once, becomes ready or crashes: as its kubelet would write it, in one request."""
    path = f"/api/v1/namespaces/{namespace}/pods/{pod['metadata']['name']}/status"
    client.request("PATCH", path, {"status": readiness(pod, datetime.now(UTC), is_ready=is_ready)}, STRATEGIC)


def readiness(pod: dict[str, Any], now: datetime, *, is_ready: bool) -> dict[str, Any]:
    """The part of its status that changes."""
    moment = now.strftime("%Y-%m-%dT%H:%M:%SZ")
    status = "True" if is_ready else "False"
    crashed = {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off restarting failed container"}}
    ended = {"exitCode": 1, "reason": "Error", "startedAt": moment, "finishedAt": moment}
    first = pod["spec"]["containers"][0]
    runs = {"running": {"startedAt": moment}}
    container = {
        "name": first["name"],
        "image": first["image"],
        "imageID": "",
        "ready": is_ready,
        "started": is_ready,
        "restartCount": 1,
        "state": runs if is_ready else crashed,
        "lastState": {"terminated": ended},
    }
    conditions = [
        {"type": kind, "status": status, "lastTransitionTime": moment} for kind in ("ContainersReady", "Ready")
    ]
    return {"conditions": conditions, "containerStatuses": [container]}


def _wait_until_usable(client: Client, names: Collection[str]) -> None:
    """The controller manager takes the taint of new nodes away, a while after kwok has made them ready."""
    deadline = time.monotonic() + READY_TIMEOUT_S
    while True:
        nodes = client.request("GET", "/api/v1/nodes")["items"]
        missing = set(names) - {found["metadata"]["name"] for found in nodes if _is_usable(found)}
        if not missing:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"nodes are not ready after {READY_TIMEOUT_S:.0f} s: {', '.join(sorted(missing))}")
        time.sleep(0.1)


def _is_usable(found: dict[str, Any]) -> bool:
    ready = [c["status"] for c in found["status"].get("conditions", ()) if c["type"] == "Ready"]
    return ready == ["True"] and [taint["key"] for taint in found["spec"].get("taints", ())] == [TAINT]
