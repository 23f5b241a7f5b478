"""The nodes that hack/local_control_plane simulates: pods on them run, stay away, fail and go as they are told to."""

import json
from collections.abc import Callable, Iterator
from contextlib import closing

import pytest

from integration.api_client import Api, Body, condition
from local_control_plane import ControlPlane, create_nodes, fail_pod

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def simulated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    control_plane = ControlPlane(tmp_path_factory.mktemp("simulated"))
    try:
        control_plane.start()
        control_plane.start_controller_manager()
        control_plane.start_scheduler()
        control_plane.start_kwok()
        create_nodes(control_plane, 2, "inf2.xlarge")
        yield control_plane
    finally:
        control_plane.stop()


@pytest.fixture
def pods(simulated: ControlPlane) -> Iterator[Api]:
    with closing(Api(simulated.kubeconfig, "default")) as api:
        yield api
        for pod in api.every("pods"):
            api.delete("pods", pod["metadata"]["name"])
            api.wait_until_gone("pods", pod["metadata"]["name"])


def pod(name: str, cores: int = 2, **metadata: object) -> Body:
    limits = {"aws.amazon.com/neuroncore": str(cores)}
    container = {"name": "runtime", "image": "example.com/runtime:1", "resources": {"limits": limits}}
    fetch = {"name": "fetch", "image": "example.com/runtime:1"}
    tolerations = [{"key": "aws.amazon.com/neuron", "operator": "Exists"}]
    spec = {"containers": [container], "initContainers": [fetch], "tolerations": tolerations}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, **metadata}, "spec": spec}


def is_ready(status: str) -> Callable[[Body], bool]:
    return lambda body: condition(body).get("status") == status


def test_a_pod_runs_on_a_node_with_its_cores_until_it_is_deleted(pods: Api) -> None:
    pods.create("pods", pod("runs"))
    found = pods.wait_for("pods", "runs", is_ready("True"))
    assert found["status"]["phase"] == "Running"
    assert found["status"]["initContainerStatuses"][0]["state"]["terminated"]["reason"] == "Completed"
    assert found["spec"]["nodeName"].startswith("inf2-xlarge-")
    assert found["status"]["podIP"]
    pods.delete("pods", "runs")
    pods.wait_until_gone("pods", "runs")


def test_a_pod_that_asks_for_more_cores_than_a_node_has_waits(pods: Api) -> None:
    pods.create("pods", pod("large", cores=3))
    waits = pods.wait_for("pods", "large", lambda body: condition(body, "PodScheduled").get("status") == "False")
    assert "Insufficient aws.amazon.com/neuroncore" in condition(waits, "PodScheduled")["message"]


def test_a_pod_that_is_told_to_never_run_has_a_node_and_stays_pending(pods: Api) -> None:
    pods.create("pods", pod("stays", annotations={"neuron-serving.dev/never-runs": "true"}))
    pods.wait_for("pods", "stays", lambda body: "nodeName" in body["spec"])
    pods.create("pods", pod("runs"))
    pods.wait_for("pods", "runs", is_ready("True"))
    assert pods.get("pods", "stays")["status"]["phase"] == "Pending"


def test_a_pod_that_fails_is_not_ready_and_stays_so(simulated: ControlPlane, pods: Api) -> None:
    pods.create("pods", pod("fails"))
    pods.wait_for("pods", "fails", is_ready("True"))
    fail_pod(simulated, "default", "fails")
    pods.create("pods", pod("runs"))
    pods.wait_for("pods", "runs", is_ready("True"))
    found = pods.get("pods", "fails")
    assert condition(found)["status"] == "False"
    assert found["status"]["containerStatuses"][0]["state"]["waiting"]["reason"] == "CrashLoopBackOff"


def test_nodes_are_spread_over_zones_and_keep_their_taint(simulated: ControlPlane, pods: Api) -> None:
    names = create_nodes(simulated, 2, "inf2.8xlarge")
    assert names == ["inf2-8xlarge-0", "inf2-8xlarge-1"]
    answered = simulated.kubectl("get", "nodes", *names, "--output=json")
    found = json.loads(answered.stdout)["items"]
    assert {node["metadata"]["labels"]["topology.kubernetes.io/zone"] for node in found} == {"us-east-1a", "us-east-1b"}
    assert {taint["key"] for node in found for taint in node["spec"]["taints"]} == {"aws.amazon.com/neuron"}
    for name in names:
        pods.delete("nodes", name, is_namespaced=False)
