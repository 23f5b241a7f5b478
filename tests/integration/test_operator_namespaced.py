"""The operator with the chart's roles in two namespaces and no rights elsewhere, on a real API server with RBAC."""

import json
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from chart.rendered import NAMESPACE, RELEASE, render
from integration.api_client import WAIT_S, Api, Body, condition, has_reason
from integration.conftest import install_crd
from integration.faulty_proxy import FaultyProxy
from integration.models import model, settled
from local_control_plane import ControlPlane, OperatorProcess

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

SHOP, LAB, LATER = "shop", "lab", "later"
WATCHED = f"{SHOP},{LAB}"
RECONCILES = "neuron_serving_operator_reconcile_duration_seconds_count"
NEXT: Body = {"spec": {"artifact": {"uri": "https://models.example/next/"}}}
# One question a second at first, ever fewer later: far less than a list of each kind, again and again.
FEW_REFUSALS = 12
NO_CORES = "0/3 nodes are available: 3 Insufficient aws.amazon.com/neuroncore."


@pytest.fixture(scope="module")
def api_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """With the controllers, which empty namespaces that are deleted; the operator is the chart's service account."""
    folder = tmp_path_factory.mktemp("namespaced")
    control_plane = ControlPlane(folder, operator_account=f"{NAMESPACE}:{RELEASE}")
    try:
        control_plane.start()
        control_plane.start_controller_manager()
        install_crd(control_plane)
        for namespace in (NAMESPACE, SHOP, LAB, "elsewhere"):
            control_plane.kubectl("create", "namespace", namespace)
        grant(control_plane, SHOP, LAB)
        yield control_plane
    finally:
        control_plane.stop()


def grant(control_plane: ControlPlane, *namespaces: str, **values: Any) -> None:
    """What Helm would put there for these namespaces."""
    manifests = render({"watchNamespaces": list(namespaces), "crds.install": False, **values})
    roles = [each for each in manifests if "Role" in each["kind"]]
    control_plane.kubectl("apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": roles}))


@pytest.fixture
def proxy(api_server: ControlPlane) -> Iterator[FaultyProxy]:
    made = FaultyProxy(api_server.operator_kubeconfig)
    yield made
    made.close()


@pytest.fixture
def stopped(proxy: FaultyProxy, tmp_path: Path) -> Iterator[OperatorProcess]:
    """With the settings that the chart gives; to be started by the test."""
    settings = {"watch_namespaces": WATCHED, "lease_namespace": NAMESPACE, "pod_name": "operator-1"}
    operator = OperatorProcess(proxy.write_kubeconfig(tmp_path / "kubeconfig"), tmp_path / "operator.log", settings)
    yield operator
    if operator.process.poll() is None:
        operator.stop()


@pytest.fixture
def operator(stopped: OperatorProcess) -> OperatorProcess:
    stopped.start()
    return stopped


@pytest.fixture
def apis(api_server: ControlPlane) -> Iterator[dict[str, Api]]:
    """An administrator in each namespace; no model is left behind."""
    made = {namespace: Api(api_server.kubeconfig, namespace) for namespace in (SHOP, LAB, LATER, "elsewhere")}
    yield made
    for api in made.values():
        for body in api.every("neuronmodels"):
            api.delete("neuronmodels", body["metadata"]["name"])
            api.wait_until_gone("neuronmodels", body["metadata"]["name"])
        api.close()


def refused(control_plane: ControlPlane, since: int) -> list[str]:
    """What the operator was not allowed to do."""
    entries = [e for e in control_plane.requests_by_operator(since) if e["responseStatus"]["code"] == 403]
    return [f"{entry['verb']} {entry['requestURI']}" for entry in entries]


def writes_in(control_plane: ControlPlane, namespace: str) -> Counter[str]:
    refs = [entry["objectRef"] for entry in control_plane.writes_by_operator()]
    return Counter(
        f"{ref['resource']}/{ref.get('name', '')}/{ref.get('subresource', '')}"
        for ref in refs
        if ref.get("namespace") == namespace
    )


def wait_until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + WAIT_S
    while not holds():
        assert time.monotonic() < deadline, f"not in {WAIT_S:.0f} s: {what}"
        time.sleep(0.05)


def wait_until_settled(operator: OperatorProcess, reconciles: int = 0) -> None:
    def is_settled() -> bool:
        return operator.is_idle() and operator.metric(RECONCILES) >= reconciles

    wait_until(is_settled, operator.log.read_text())


def test_models_are_served_in_the_watched_namespaces_with_the_charts_roles_alone(
    api_server: ControlPlane, apis: dict[str, Api], operator: OperatorProcess
) -> None:
    since = api_server.audit_position()
    apis["elsewhere"].create("neuronmodels", model())
    for namespace in (SHOP, LAB):
        settled(apis[namespace], model())
        assert apis[namespace].get("deployments", "sentiment")["spec"]["replicas"] == 2
    wait_until_settled(operator)
    assert apis["elsewhere"].get("neuronmodels", "sentiment")["status"] == {"observedGeneration": -1}
    assert apis["elsewhere"].every("deployments") == []
    seen = {entry.get("objectRef", {}).get("namespace") for entry in api_server.requests_by_operator(since)}
    assert seen <= {SHOP, LAB, NAMESPACE, None}
    assert refused(api_server, since) == []
    assert "orbidden" not in operator.log.read_text()


def test_a_restart_with_settled_models_writes_nothing(
    api_server: ControlPlane, apis: dict[str, Api], operator: OperatorProcess
) -> None:
    for namespace in (SHOP, LAB):
        settled(apis[namespace], model())
    wait_until_settled(operator)
    before = {namespace: writes_in(api_server, namespace) for namespace in (SHOP, LAB)}
    operator.stop()
    operator.start()
    wait_until_settled(operator, reconciles=2)
    assert {namespace: writes_in(api_server, namespace) for namespace in (SHOP, LAB)} == before


def test_a_new_list_of_one_namespace_touches_no_other(
    api_server: ControlPlane, apis: dict[str, Api], proxy: FaultyProxy, operator: OperatorProcess
) -> None:
    for namespace in (SHOP, LAB):
        settled(apis[namespace], model())
    uid = apis[SHOP].get("services", "sentiment")["metadata"]["uid"]
    wait_until_settled(operator)
    before, lists = writes_in(api_server, LAB), len(proxy.passed("GET", LAB))
    proxy.silence("services")
    apis[SHOP].delete("services", "sentiment")
    gone = {"type": "ERROR", "object": {"kind": "Status", "status": "Failure", "code": 410, "message": "too old"}}
    proxy.inject(f"{SHOP}/services", gone)
    apis[SHOP].wait_for("services", "sentiment", lambda body: body["metadata"]["uid"] != uid)
    proxy.unsilence("services")
    wait_until_settled(operator)
    assert writes_in(api_server, LAB) == before
    assert len(proxy.passed("GET", LAB)) == lists


def test_a_namespace_that_comes_later_holds_up_nobody_and_is_served_once_it_is_there(
    api_server: ControlPlane, apis: dict[str, Api], stopped: OperatorProcess
) -> None:
    stopped.settings["watch_namespaces"] = f"{WATCHED},{LATER}"
    since = api_server.audit_position()
    stopped.start()
    settled(apis[SHOP], model())
    api_server.kubectl("create", "namespace", LATER)
    settled_before = len(refused(api_server, since))
    grant(api_server, SHOP, LAB, LATER)
    settled(apis[LATER], model())
    assert 0 < settled_before <= FEW_REFUSALS
    assert {request.split()[1].split("?")[0].split("/")[-2] for request in refused(api_server, since)} == {LATER}
    assert stopped.log.read_text().count("orbidden") == 1


def test_a_namespace_that_is_deleted_and_made_again_is_served_again_and_the_other_all_the_while(
    api_server: ControlPlane, apis: dict[str, Api], proxy: FaultyProxy, operator: OperatorProcess
) -> None:
    for namespace in (SHOP, LAB):
        settled(apis[namespace], model())
    since = api_server.audit_position()
    api_server.kubectl("delete", "namespace", LAB, f"--timeout={WAIT_S:.0f}s")
    proxy.drop_watches()
    wait_until(lambda: f"namespace={LAB} is left alone" in operator.log.read_text(), "the loss of a namespace")
    settled(apis[SHOP], model("meanwhile"))
    assert operator.process.poll() is None
    api_server.kubectl("create", "namespace", LAB)
    grant(api_server, SHOP, LAB)
    settled(apis[LAB], model("again"))
    assert f"namespace={LAB} may be read" in operator.log.read_text()
    reads = [request for request in refused(api_server, since) if request.startswith(("list", "watch"))]
    assert 0 < len(reads) <= FEW_REFUSALS
    told = Counter(line.split()[3] for line in operator.log.read_text().splitlines() if "orbidden" in line)
    assert told["neuron_operator.access"] == 1
    # The others tell of the model that was being written when the role went.
    assert not [name for name in told if "kopf" in name or "watching" in name]


def told_once_pods_wait(api: Api, reason: str) -> Body:
    """The model that says why its pods wait; those that an earlier one left may go first, and others come."""
    deadline = time.monotonic() + WAIT_S
    while not has_reason(reason)(found := api.get("neuronmodels", "sentiment")):
        assert time.monotonic() < deadline, found["status"]
        leave_waiting(api, NO_CORES)
        time.sleep(0.1)
    return found


def leave_waiting(api: Api, said: str) -> None:
    """The pods as the scheduler leaves those that it finds no node for."""
    waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": said}
    status = {"conditions": [waits | {"lastTransitionTime": "2026-01-01T00:00:00Z"}]}
    for pod in api.every("pods"):
        name = pod["metadata"]["name"]
        try:
            api.merge("pods", name, {"status": status if "nodeName" not in pod["spec"] else {}}, "/status")
        except AssertionError:
            assert api.find("pods", name) is None


def test_why_a_pod_waits_is_told_in_the_schedulers_words(
    api_server: ControlPlane, apis: dict[str, Api], operator: OperatorProcess
) -> None:
    api, since = apis[SHOP], api_server.audit_position()
    settled(api, model())
    told_once_pods_wait(api, "InsufficientNeuronCores")
    wait_until_settled(operator)
    assert refused(api_server, since) == []


def test_a_change_goes_in_place_because_free_cores_are_not_known(
    apis: dict[str, Api], operator: OperatorProcess
) -> None:
    api = apis[SHOP]
    settled(api, model(replicas=1))
    pod = api.wait_for_any("pods", "spec.nodeName=")["metadata"]["name"]
    api.create("bindings", {"kind": "Binding", "metadata": {"name": pod}, "target": {"kind": "Node", "name": "n1"}})
    before = api.get("deployments", "sentiment")["spec"]["template"]
    wait_until(lambda: operator.metric(RECONCILES) > 0, "a look")
    api.wait_for("pods", pod, lambda body: body["spec"].get("nodeName") == "n1")
    api.merge("neuronmodels", "sentiment", NEXT)
    after = api.wait_for("deployments", "sentiment", lambda body: body["spec"]["template"] != before)
    assert after["spec"]["strategy"]["rollingUpdate"] == {"maxSurge": 0, "maxUnavailable": 1}
    assert "reason=the operator may not read nodes" in operator.log.read_text()


def test_with_the_role_for_nodes_it_knows_which_there_are(
    api_server: ControlPlane, apis: dict[str, Api], stopped: OperatorProcess
) -> None:
    grant(api_server, SHOP, LAB, **{"rbac.nodes": True})
    since = api_server.audit_position()
    stopped.settings["read_nodes"] = "true"
    stopped.start()
    settled(apis[SHOP], model())
    found = told_once_pods_wait(apis[SHOP], "NoNeuronNodes")
    assert condition(found)["message"].startswith("The cluster has no node of type")
    assert refused(api_server, since) == []


def test_two_operators_of_different_namespaces_both_lead(
    api_server: ControlPlane, apis: dict[str, Api], operator: OperatorProcess, tmp_path: Path
) -> None:
    settings = {"watch_namespaces": "elsewhere", "lease_namespace": "elsewhere", "pod_name": "operator-2"}
    other = OperatorProcess(api_server.kubeconfig, tmp_path / "other.log", settings)
    other.start()
    try:
        for namespace in (SHOP, "elsewhere"):
            settled(apis[namespace], model())
        assert (operator.metric("neuron_serving_operator_leader"), other.metric("neuron_serving_operator_leader")) == (
            1,
            1,
        )
        wait_until_settled(operator)
        assert writes_in(api_server, "elsewhere") == Counter()
    finally:
        other.stop()
