"""What GitOps tools make of a model, by their library: never Current too early, never Failed while time can mend it.

The controllers are real; the tests write the pods' status, as a kubelet would.
"""

import json
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

import pytest

from integration.api_client import Api, Body, condition, has_reason
from integration.conftest import install_crd, run_control_plane
from integration.kstatus import Verdict, argo_options, flux_options, verdicts
from integration.models import model, settled
from local_control_plane import ControlPlane, OperatorProcess, create_nodes

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("controlled_operator"), pytest.mark.timeout(600)]

LONG_AGO = "2020-01-01T00:00:00Z"
FINALIZER = "example.com/held-by-the-test"
SPEC: Body = {"replicas": 1}
IN_ARGO_CD = {"InProgress": "Progressing", "Current": "Healthy", "Failed": "Degraded"}
# As long as Karpenter and EC2 may take for a node.
NODE_AFTER_S = 180.0
IMPOSSIBLE: Body = {"placement": {"instanceTypes": ["inf2.6xlarge"]}}


@contextmanager
def stopped(operator: OperatorProcess) -> Iterator[None]:
    operator.stop()
    try:
        yield
    finally:
        operator.start()


def verdict(control_plane: ControlPlane, body: Body) -> Verdict:
    """Of kstatus; the scripts of docs/gitops.md have to agree, but for deletion, which is the tools' own business."""
    binaries, folder = control_plane.binaries, control_plane.folder
    found = verdicts(binaries, body)[0]
    if found.status == "Terminating":
        return found
    flux = verdicts(binaries, body, options=flux_options(folder))[0]
    argo = verdicts(binaries, body, options=argo_options(folder))[0]
    expected = "Suspended" if has_reason("Suspended")(body) else IN_ARGO_CD[found.status]
    assert (flux.status, argo.status) == (found.status, expected)
    if body["status"]["observedGeneration"] == body["metadata"]["generation"]:
        assert argo.message == condition(body)["message"]
    return found


def set_pod_status(api: Api, **status: Any) -> None:
    """Of the one pod that the controllers made."""
    pod = api.wait_for_any("pods", "status.phase=Pending")
    api.merge("pods", pod["metadata"]["name"], {"status": status}, "/status")


def pod_condition(kind: str, status: str = "True", **more: str) -> Body:
    return {"type": kind, "status": status, "lastTransitionTime": LONG_AGO, **more}


def let_it_serve(api: Api) -> Body:
    ready = [pod_condition(kind) for kind in ("PodScheduled", "Initialized", "ContainersReady", "Ready")]
    set_pod_status(api, phase="Running", conditions=ready)
    return api.wait_for("neuronmodels", "sentiment", has_reason("Serving"))


def let_it_fail(api: Api) -> None:
    waiting = {"reason": "ImagePullBackOff", "message": "not found"}
    container = {"name": "runtime", "image": "example.com/runtime:1", "imageID": "", "ready": False, "restartCount": 0}
    set_pod_status(api, phase="Pending", containerStatuses=[{**container, "state": {"waiting": waiting}}])


def test_a_model_that_no_operator_ever_saw_is_in_progress(
    controlled_api: Api, controlled_api_server: ControlPlane, controlled_operator: OperatorProcess
) -> None:
    with stopped(controlled_operator):
        unseen = controlled_api.create("neuronmodels", model(**SPEC))
        assert verdict(controlled_api_server, unseen).status == "InProgress"


@pytest.mark.parametrize("is_serving", [True, False], ids=["serving", "stalled"])
@pytest.mark.parametrize(
    ("name", "changed"),
    [
        pytest.param("sentiment", {"spec": {"artifact": {"uri": "https://models.example/next/"}}}, id="the-spec"),
        pytest.param("sentiment/scale", {"spec": {"replicas": 2}}, id="the-scale"),
    ],
)
def test_a_change_that_no_operator_saw_yet_is_in_progress(
    controlled_api: Api,
    controlled_api_server: ControlPlane,
    controlled_operator: OperatorProcess,
    is_serving: bool,
    name: str,
    changed: Body,
) -> None:
    controlled_api.create("neuronmodels", model(**SPEC, **({} if is_serving else IMPOSSIBLE)))
    if is_serving:
        told = let_it_serve(controlled_api)
    else:
        told = controlled_api.wait_for("neuronmodels", "sentiment", has_reason("NoMatchingInstanceType"))
    assert verdict(controlled_api_server, told).status == ("Current" if is_serving else "Failed")
    with stopped(controlled_operator):
        controlled_api.merge("neuronmodels", name, changed)
        unseen = controlled_api.get("neuronmodels", "sentiment")
        assert verdict(controlled_api_server, unseen).status == "InProgress"


def test_a_model_whose_pods_wait_for_a_node_for_years_is_in_progress(
    controlled_api: Api, controlled_api_server: ControlPlane
) -> None:
    settled(controlled_api, model(**SPEC))
    scheduled = pod_condition("PodScheduled", "False", reason="Unschedulable", message="0/1 nodes are available")
    set_pod_status(controlled_api, conditions=[scheduled])
    waiting = controlled_api.wait_for("neuronmodels", "sentiment", has_reason("NoNeuronNodes"))
    assert waiting["status"]["lastFailure"]["since"] == LONG_AGO
    found = verdict(controlled_api_server, waiting)
    assert (found.status, found.message) == ("InProgress", condition(waiting)["message"])


@pytest.fixture
def cluster_without_nodes(tmp_path: Path) -> Iterator[ControlPlane]:
    """With controllers, scheduler and kwok's kubelets, and the operator on it."""
    for control_plane in run_control_plane(tmp_path):
        control_plane.start_controller_manager()
        control_plane.start_scheduler()
        control_plane.start_kwok()
        install_crd(control_plane)
        operator = OperatorProcess(control_plane.operator_kubeconfig, tmp_path / "operator.log")
        operator.start()
        yield control_plane
        operator.stop()


def test_a_model_whose_node_comes_after_three_minutes_is_in_progress_until_it_serves(
    cluster_without_nodes: ControlPlane,
) -> None:
    """Every version of the object on the way, not the first and the last."""
    with closing(Api(cluster_without_nodes.kubeconfig, "default")) as api:
        api.create("neuronmodels", model(**SPEC))
        seen: dict[str, Body] = {}

        def has_served(body: Body) -> bool:
            seen[body["metadata"]["resourceVersion"]] = body
            return has_reason("Serving")(body)

        assert not comes_true(api, has_served, NODE_AFTER_S)
        create_nodes(cluster_without_nodes, 1, "inf2.xlarge")
        assert comes_true(api, has_served, NODE_AFTER_S)
    *waiting, serving = [body for body in seen.values() if body.get("status", {}).get("conditions")]
    told = {condition(body)["reason"] for body in waiting}
    assert told >= {"NoNeuronNodes"}, told
    assert {verdict(cluster_without_nodes, body).status for body in waiting} == {"InProgress"}
    assert verdict(cluster_without_nodes, serving).status == "Current"


def comes_true(api: Api, holds: Callable[[Body], bool], timeout_s: float) -> bool:
    """Whether it holds of the model in that time; it is asked of every version that is seen."""
    try:
        api.wait_for("neuronmodels", "sentiment", holds, timeout_s)
    except AssertionError:
        return False
    return True


def test_a_single_replica_says_what_a_drain_costs_and_blocks_none(
    controlled_api: Api, controlled_api_server: ControlPlane
) -> None:
    settled(controlled_api, model(**SPEC))
    serving = let_it_serve(controlled_api)
    assert "with one replica nothing answers while its node is drained" in serving["status"]["placement"]["reason"]
    controlled_api.wait_for("poddisruptionbudgets", "sentiment", lambda body: body["status"]["disruptionsAllowed"] == 1)
    (pod,) = controlled_api.every("pods")
    eviction = {"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": pod["metadata"]["name"]}}
    answer = controlled_api.create(f"pods/{pod['metadata']['name']}/eviction", eviction)
    assert answer["status"] == "Success"


def test_a_model_whose_pods_fail_is_in_progress_until_its_deadline_passed(
    controlled_api: Api, controlled_api_server: ControlPlane
) -> None:
    settled(controlled_api, model(**SPEC))
    let_it_fail(controlled_api)
    failing = controlled_api.wait_for("neuronmodels", "sentiment", has_reason("ImagePullFailed"))
    assert verdict(controlled_api_server, failing).status == "InProgress"
    controlled_api.merge("neuronmodels", "sentiment", {"spec": {"rollout": {"progressDeadlineSeconds": 1}}})
    late = controlled_api.wait_for("neuronmodels", "sentiment", lambda body: is_stalled(body, "ImagePullFailed"))
    found = verdict(controlled_api_server, late)
    assert (found.status, found.message) == ("Failed", condition(late)["message"])


def is_stalled(body: Body, reason: str) -> bool:
    return has_reason(reason)(body) and condition(body, "Stalled")["status"] == "True"


def test_a_model_past_its_deadline_has_failed_also_when_nothing_is_known_to_fail(
    controlled_api: Api, controlled_api_server: ControlPlane
) -> None:
    controlled_api.create("neuronmodels", model(**SPEC, rollout={"progressDeadlineSeconds": 1}))
    late = controlled_api.wait_for("neuronmodels", "sentiment", has_reason("RolloutStalled"))
    assert verdict(controlled_api_server, late).status == "Failed"
    serving = let_it_serve(controlled_api)
    assert verdict(controlled_api_server, serving).status == "Current"


def test_a_model_that_no_instance_type_can_run_has_failed(
    controlled_api: Api, controlled_api_server: ControlPlane
) -> None:
    controlled_api.create("neuronmodels", model(**IMPOSSIBLE))
    refused = controlled_api.wait_for("neuronmodels", "sentiment", has_reason("NoMatchingInstanceType"))
    found = verdict(controlled_api_server, refused)
    assert (found.status, found.message) == ("Failed", condition(refused)["message"])
    assert found.message.endswith(" Runbook: https://neuron-serving.dev/runbook/NoMatchingInstanceType.")


@pytest.mark.parametrize(
    ("spec", "reason"), [({"suspend": True}, "Suspended"), ({"replicas": 0}, "ScaledToZero")], ids=["suspended", "zero"]
)
def test_a_model_that_should_run_nothing_is_current(
    controlled_api: Api, controlled_api_server: ControlPlane, spec: Body, reason: str
) -> None:
    controlled_api.create("neuronmodels", model(**spec))
    resting = controlled_api.wait_for("neuronmodels", "sentiment", has_reason(reason))
    assert verdict(controlled_api_server, resting).status == "Current"


def test_a_model_that_serves_is_current_and_so_is_all_it_made(
    controlled_api: Api, controlled_api_server: ControlPlane
) -> None:
    starting = settled(controlled_api, model(**SPEC))
    assert verdict(controlled_api_server, starting).status == "InProgress"
    serving = let_it_serve(controlled_api)
    plurals = ("deployments", "services", "poddisruptionbudgets", "controllerrevisions")
    # The disruption controller counts after the others, and no condition of ours waits for it.
    controlled_api.wait_for("poddisruptionbudgets", "sentiment", lambda body: body["status"]["currentHealthy"] == 1)
    children = [child for plural in plurals for child in controlled_api.every(plural)]
    found = verdicts(controlled_api_server.binaries, serving, *children)
    assert {one.kind: one.status for one in found} == dict.fromkeys(
        ("NeuronModel", "Deployment", "Service", "PodDisruptionBudget", "ControllerRevision"), "Current"
    )


def test_a_model_that_is_being_deleted_is_terminating(controlled_api: Api, controlled_api_server: ControlPlane) -> None:
    held = model(**SPEC)
    held["metadata"]["finalizers"] = [FINALIZER]
    settled(controlled_api, held)
    let_it_serve(controlled_api)
    controlled_api.delete("neuronmodels", "sentiment")
    leaving = controlled_api.get("neuronmodels", "sentiment")
    assert verdict(controlled_api_server, leaving).status == "Terminating"
    controlled_api.merge("neuronmodels", "sentiment", {"metadata": {"finalizers": None}})
    controlled_api.wait_until_gone("neuronmodels", "sentiment")


def test_replicas_that_are_handed_over_stay_when_they_leave_git(
    controlled_api: Api, controlled_api_server: ControlPlane
) -> None:
    def apply(manager: str, body: Body) -> None:
        where = ("--namespace", controlled_api.namespace, "--filename", "-")
        as_gitops = ("--server-side", "--force-conflicts", f"--field-manager={manager}")
        controlled_api_server.kubectl("apply", *as_gitops, *where, given=json.dumps(body))

    in_git = model(replicas=3)
    apply("kustomize-controller", in_git)
    apply("handover", {**in_git, "spec": {"replicas": 3}})
    del in_git["spec"]["replicas"]
    apply("kustomize-controller", in_git)
    assert controlled_api.get("neuronmodels", "sentiment")["spec"]["replicas"] == 3
    controlled_api.merge("neuronmodels", "sentiment/scale", {"spec": {"replicas": 5}})
    apply("kustomize-controller", in_git)
    assert controlled_api.get("neuronmodels", "sentiment")["spec"]["replicas"] == 5
