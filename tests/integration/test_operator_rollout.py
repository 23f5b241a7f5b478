"""Rollouts on a real API server: nodes and pods are set by hand, as kubelets and the scheduler would."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from integration.api_client import WAIT_S, Api, Body, condition, has_reason
from integration.models import model, settled
from local_control_plane import ROOT, ControlPlane, OperatorProcess

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

CORES = "aws.amazon.com/neuroncore"
# Of a type that no other test uses, so that no pod which one of them left waiting could take its cores.
TYPE = "inf2.48xlarge"
OURS: Body = {"neuronCores": 1, "replicas": 1, "placement": {"instanceTypes": [TYPE]}}
NEXT: Body = {"spec": {"artifact": {"uri": "https://models.example/next/"}}}
REVISION, ROLLOUT = "neuron-serving.dev/revision", "neuron-serving.dev/rollout"


def text(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def create_node(api: Api, name: str) -> None:
    """A node of one core."""
    metadata = {"name": name, "labels": {"node.kubernetes.io/instance-type": TYPE}}
    api.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": metadata}, is_namespaced=False)
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": text(datetime.now(UTC)), "reason": "KubeletReady"}
    status = {"allocatable": {CORES: "1"}, "capacity": {CORES: "1"}, "conditions": [ready | {"message": ""}]}
    api.merge("nodes", name, {"status": status}, "/status", is_namespaced=False)
    api.merge("nodes", name, {"spec": {"taints": None}}, is_namespaced=False)


@pytest.fixture
def nodes(request: pytest.FixtureRequest, api: Api, operator: OperatorProcess) -> Iterator[list[str]]:
    """As many nodes as asked for, one by default; they are there before the model and its pods."""
    names = [f"{api.namespace}-{number}" for number in range(getattr(request, "param", 1))]
    for name in names:
        create_node(api, name)
    yield names
    for pod in api.every("pods"):
        api.delete("pods", pod["metadata"]["name"])
    for name in names:
        api.delete("nodes", name, is_namespaced=False)


def create_pod(api: Api, name: str, node: str = "", waits_since: datetime | None = None) -> None:
    """A pod of the model's present template, which nothing runs."""
    template = api.get("deployments", "sentiment")["spec"]["template"]
    body = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": name}}
    _create(api, {**body, "spec": {**body["spec"], **({"nodeName": node} if node else {})}}, waits_since)


def create_foreign_pod(api: Api, name: str) -> None:
    container = {"name": "app", "image": "example.com/app:1", "resources": {"limits": {CORES: "1"}}}
    body = {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name}, "spec": {"containers": [container]}}
    _create(api, body, datetime.now(UTC))


def _create(api: Api, body: Body, waits_since: datetime | None) -> None:
    api.create("pods", body)
    if waits_since is not None:
        waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "Insufficient"}
        status = {"phase": "Pending", "conditions": [waits | {"lastTransitionTime": text(waits_since)}]}
        api.merge("pods", body["metadata"]["name"], {"status": status}, "/status")


def serves(api: Api, node: str) -> Body:
    """A model of one replica on the node, once the operator has seen its pod; the Deployment."""
    settled(api, model(**OURS))
    create_pod(api, "sentiment-1", node)
    waiting = {"waiting": {"reason": "CreateContainerConfigError", "message": "seen"}}
    container = {"name": "runtime", "image": "example.com/runtime:1", "imageID": "", "ready": False, "restartCount": 0}
    status = {"phase": "Pending", "containerStatuses": [container | {"state": waiting}]}
    api.merge("pods", "sentiment-1", {"status": status}, "/status")
    api.wait_for("neuronmodels", "sentiment", has_reason("ContainerConfigError"))
    return api.get("deployments", "sentiment")


def rolled_out(api: Api, before: Body, strategy: str) -> Body:
    """The Deployment once it has another template; the template and the decision arrive together."""
    first = api.wait_for(
        "deployments", "sentiment", lambda body: body["spec"]["template"] != before["spec"]["template"]
    )
    annotations = first["metadata"]["annotations"]
    assert annotations[ROLLOUT] == strategy
    assert annotations[REVISION] == first["spec"]["template"]["metadata"]["annotations"][REVISION]
    return first


@pytest.mark.parametrize("nodes", [2], indirect=True)
def test_a_change_surges_onto_free_cores(api: Api, nodes: list[str]) -> None:
    before = serves(api, nodes[0])
    assert before["metadata"]["annotations"][ROLLOUT] == "InPlace"
    api.merge("neuronmodels", "sentiment", NEXT)
    after = rolled_out(api, before, "Surge")
    assert after["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 1, "maxUnavailable": 0}


@pytest.mark.parametrize("nodes", [2], indirect=True)
def test_a_surge_that_finds_no_node_for_a_minute_falls_back(api: Api, nodes: list[str]) -> None:
    before = serves(api, nodes[0])
    api.merge("neuronmodels", "sentiment", NEXT)
    surging = rolled_out(api, before, "Surge")
    create_pod(api, "sentiment-2", waits_since=datetime.now(UTC) - timedelta(minutes=2))
    after = api.wait_for("deployments", "sentiment", lambda body: body["metadata"]["annotations"][ROLLOUT] == "InPlace")
    assert after["spec"]["template"] == surging["spec"]["template"]
    assert after["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}


def test_a_rollout_is_held_until_nobody_else_waits_for_the_cores(api: Api, nodes: list[str]) -> None:
    before = serves(api, nodes[0])
    create_foreign_pod(api, "other")
    api.merge("neuronmodels", "sentiment", NEXT)
    held = api.wait_for("neuronmodels", "sentiment", has_reason("RolloutWouldLoseCores"))
    assert f"pod {api.namespace}/other" in condition(held)["message"]
    assert api.get("deployments", "sentiment")["spec"]["template"] == before["spec"]["template"]
    api.delete("pods", "other")
    rolled_out(api, before, "InPlace")
    told = "nothing answers until the new version is ready"
    api.wait_for("neuronmodels", "sentiment", lambda body: told in body["status"]["placement"]["reason"])


def test_plan_rollout_tells_the_same_and_writes_nothing(
    api_server: ControlPlane, api: Api, nodes: list[str], tmp_path: Path
) -> None:
    serves(api, nodes[0])
    changed = model(**OURS) | {"metadata": {"name": "sentiment", "namespace": api.namespace}}
    changed["spec"] |= NEXT["spec"]
    (tmp_path / "model.yaml").write_text(json.dumps(changed))

    def planned() -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "neuron_operator", "plan-rollout", "-f", str(tmp_path / "model.yaml")]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT / "operator"),
            "KUBECONFIG": str(api_server.operator_kubeconfig),
        }
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=WAIT_S)

    before = {body["metadata"]["resourceVersion"] for body in (*api.every("deployments"), *api.every("neuronmodels"))}
    in_place = planned()
    assert (in_place.returncode, in_place.stderr) == (0, "")
    assert "is replaced in place" in in_place.stdout
    assert f"{nodes[0]}  {TYPE}  0 of 1 cores free" in in_place.stdout
    create_foreign_pod(api, "other")
    held = planned()
    assert held.returncode == 1
    assert "is held: RolloutWouldLoseCores" in held.stdout
    after = {body["metadata"]["resourceVersion"] for body in (*api.every("deployments"), *api.every("neuronmodels"))}
    assert after == before
