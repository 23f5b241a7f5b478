"""The preflight checks on a real API server of their own, because they judge the cluster as a whole.

The operator has the rights that the chart gives it.
"""

import json
import os
import re
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime

import httpx
import pytest

from chart.rendered import NAMESPACE, RELEASE, render
from integration.api_client import WAIT_S, Api, Body, condition, has_reason
from integration.conftest import install_crd
from integration.models import model, settled
from local_control_plane import ROOT, ControlPlane, OperatorProcess

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

CORES, MAP = "aws.amazon.com/neuroncore", "NEURON_CORE_USAGE_MAP"
TYPE, ALL_CORES = "inf2.24xlarge", 12
PLACEMENT: Body = {"instanceTypes": [TYPE], "schedulerName": "my-scheduler"}
STALE, EMPTY = ",".join(["true"] * ALL_CORES), ",".join(["false"] * ALL_CORES)
# As it runs, but that a failure counts after a second and not after a minute.
RUN = """
import sys
from functools import partial
from neuron_operator import process
from neuron_operator.__main__ import main
from neuron_operator.preflight.record import Record
process.PreflightWatch = partial(process.PreflightWatch, record=Record(1.0))
sys.exit(main(["run"]))
"""


@pytest.fixture(scope="module")
def control_plane(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    control_plane = ControlPlane(tmp_path_factory.mktemp("preflight"), operator_account=f"{NAMESPACE}:{RELEASE}")
    try:
        control_plane.start()
        install_crd(control_plane)
        control_plane.kubectl("create", "namespace", NAMESPACE)
        roles = [each for each in render({"crds.install": False}) if "Role" in each["kind"]]
        control_plane.kubectl(
            "apply", "-f", "-", given=json.dumps({"apiVersion": "v1", "kind": "List", "items": roles})
        )
        yield control_plane
    finally:
        control_plane.stop()


@pytest.fixture(scope="module")
def operator(control_plane: ControlPlane) -> Iterator[OperatorProcess]:
    process = OperatorProcess(
        control_plane.operator_kubeconfig,
        control_plane.folder / "operator.log",
        {"lease_namespace": NAMESPACE},
        ("-c", RUN),
    )
    process.start()
    yield process
    process.stop()
    refused = [e for e in control_plane.requests_by_operator() if e["responseStatus"]["code"] == 403]
    assert [f"{entry['verb']} {entry['requestURI']}" for entry in refused] == []


@pytest.fixture
def api(control_plane: ControlPlane) -> Iterator[Api]:
    """In the namespace where Events about nodes are."""
    api = Api(control_plane.kubeconfig, "default")
    yield api
    api.close()


@pytest.fixture
def release(control_plane: ControlPlane) -> Iterator[Api]:
    """In the namespace of the operator's Lease."""
    api = Api(control_plane.kubeconfig, NAMESPACE)
    yield api
    api.close()


@pytest.fixture
def node(api: Api, operator: OperatorProcess) -> Iterator[str]:
    """A ready node without a NeuronCore."""
    name = f"node-{uuid.uuid4().hex[:8]}"
    metadata = {"name": name, "labels": {"node.kubernetes.io/instance-type": TYPE}}
    api.create("nodes", {"apiVersion": "v1", "kind": "Node", "metadata": metadata}, is_namespaced=False)
    now = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    ready = {"type": "Ready", "status": "True", "lastTransitionTime": now, "reason": "KubeletReady", "message": ""}
    api.merge("nodes", name, {"status": {"conditions": [ready]}}, "/status", is_namespaced=False)
    api.merge("nodes", name, {"spec": {"taints": None}}, is_namespaced=False)
    yield name
    api.delete("nodes", name, is_namespaced=False)
    wait_for_metric(operator, "NeuronNodes", 0)


def give_cores(api: Api, node: str, count: int = ALL_CORES) -> None:
    status = {"allocatable": {CORES: str(count)}, "capacity": {CORES: str(count)}}
    api.merge("nodes", node, {"status": status}, "/status", is_namespaced=False)


def annotate(api: Api, node: str, usage: str | None) -> None:
    api.merge("nodes", node, {"metadata": {"annotations": {MAP: usage}}}, is_namespaced=False)


def metric(operator: OperatorProcess, check: str) -> float | None:
    text = httpx.get(f"http://127.0.0.1:{operator.metrics_port}/metrics", timeout=WAIT_S).text
    found = re.search(rf'^neuron_serving_operator_preflight{{check="{check}"}} (\S+)$', text, re.MULTILINE)
    return float(found[1]) if found else None


def wait_for_metric(operator: OperatorProcess, check: str, value: float | None) -> None:
    deadline = time.monotonic() + WAIT_S
    while metric(operator, check) != value:
        assert time.monotonic() < deadline, operator.log.read_text()
        time.sleep(0.05)


def event(api: Api, reason: str, about: str) -> Body:
    return api.wait_for_any("events", f"reason={reason},regarding.name={about}")


def events_posted(control_plane: ControlPlane, last: Body) -> list[str]:
    """The Events that the operator posted, tried to or counted again, once `last` is in the audit log.

    A watch tells of an Event before that does.
    """
    deadline = time.monotonic() + WAIT_S
    while True:
        refs = [entry["objectRef"] for entry in control_plane.writes_by_operator()]
        names = [ref["name"] for ref in refs if ref["resource"] == "events"]
        if last["metadata"]["name"] in names or time.monotonic() > deadline:
            return names
        time.sleep(0.05)


def test_a_node_without_cores_is_told_of_and_so_is_its_recovery(operator: OperatorProcess, api: Api, node: str) -> None:
    failed = event(api, "DevicePluginFailed", node)
    assert f"No {CORES} is advertised on {node}." in failed["note"]
    assert (failed["type"], failed["regarding"]["kind"]) == ("Warning", "Node")
    assert (metric(operator, "NeuronNodes"), metric(operator, "DevicePlugin")) == (1, 0)
    give_cores(api, node)
    assert event(api, "DevicePluginPassed", node)["type"] == "Normal"
    assert metric(operator, "DevicePlugin") == 1


def test_a_restart_and_what_changes_nothing_cost_no_write(
    control_plane: ControlPlane, operator: OperatorProcess, api: Api, node: str
) -> None:
    failed = event(api, "DevicePluginFailed", node)
    before = events_posted(control_plane, failed)
    operator.stop()
    operator.start()
    wait_for_metric(operator, "DevicePlugin", 0)
    # Told after whatever the failure, found again, would have cost.
    give_cores(api, node)
    passed = event(api, "DevicePluginPassed", node)
    assert events_posted(control_plane, passed)[len(before) :] == [passed["metadata"]["name"]]


def test_a_stale_usage_map_is_the_models_reason_and_a_failed_check(
    operator: OperatorProcess, api: Api, node: str
) -> None:
    give_cores(api, node)
    annotate(api, node, STALE)
    assert MAP in event(api, "UsageMapsFailed", node)["note"]
    settled(api, model(neuronCores=4, replicas=1, placement=PLACEMENT))
    template = api.get("deployments", "sentiment")["spec"]["template"]
    pod = {"apiVersion": "v1", "kind": "Pod", **template, "metadata": {**template["metadata"], "name": "sentiment-1"}}
    api.create("pods", pod)
    waits = {"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": "0/1 nodes are available"}
    waits["lastTransitionTime"] = "2026-01-01T00:00:00Z"
    api.merge("pods", "sentiment-1", {"status": {"phase": "Pending", "conditions": [waits]}}, "/status")
    try:
        told = condition(api.wait_for("neuronmodels", "sentiment", has_reason("StaleUsageMap")))["message"]
        assert f"4 NeuronCores are free on {node}" in told
        assert f"kubectl annotate node {node} {MAP}- NEURON_DEV_USAGE_MAP-" in told
        annotate(api, node, None)
        api.wait_for("neuronmodels", "sentiment", has_reason("Unschedulable"))
        wait_for_metric(operator, "UsageMaps", None)
        annotate(api, node, EMPTY)
        event(api, "UsageMapsPassed", node)
    finally:
        api.delete("pods", "sentiment-1")
        api.delete("neuronmodels", "sentiment")


def definition(kind: str) -> Body:
    plural, group = f"{kind.lower()}s", "monitoring.coreos.com"
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    version = {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {"kind": kind, "plural": plural, "singular": kind.lower(), "listKind": f"{kind}List"}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{group}", "annotations": {"api-approved.kubernetes.io": "unapproved"}},
        "spec": {"group": group, "scope": "Namespaced", "names": names, "versions": [version]},
    }


def test_definitions_are_seen_when_they_are_installed_and_removed(
    operator: OperatorProcess, api: Api, release: Api
) -> None:
    lease = "neuron-serving-operator"
    wait_for_metric(operator, "MonitoringDefinitions", 0)
    bodies = [definition("ServiceMonitor"), definition("PodMonitor")]
    for body in bodies:
        api.create("customresourcedefinitions", body, is_namespaced=False)
    passed = event(release, "MonitoringDefinitionsPassed", lease)
    assert (passed["type"], passed["regarding"]["kind"]) == ("Normal", "Lease")
    assert passed["regarding"]["uid"]
    for body in bodies:
        api.delete("customresourcedefinitions", body["metadata"]["name"], is_namespaced=False)
    assert event(release, "MonitoringDefinitionsFailed", lease)["type"] == "Normal"
    assert metric(operator, "MonitoringDefinitions") == 0


def run_preflight(control_plane: ControlPlane) -> subprocess.CompletedProcess[str]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT / "operator"),
        "KUBECONFIG": str(control_plane.operator_kubeconfig),
    }
    command = [sys.executable, "-m", "neuron_operator", "preflight"]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=WAIT_S)


def test_the_command_prints_a_line_for_each_check_and_fails_where_one_does(
    control_plane: ControlPlane, api: Api, node: str
) -> None:
    missing = run_preflight(control_plane)
    assert missing.returncode == 1, missing.stderr
    rows = {line.split()[0]: line.split()[1] for line in missing.stdout.splitlines()}
    assert rows == {
        "CHECK": "RESULT",
        "NeuronNodes": "pass",
        "DevicePlugin": "fail",
        "SchedulerExtension": "pass",
        "UsageMaps": "unknown",
        "NeuronTaint": "advice",
        "MonitoringDefinitions": "advice",
    }
    assert f"No {CORES} is advertised on {node}." in missing.stdout
    give_cores(api, node)
    there = run_preflight(control_plane)
    assert (there.returncode, there.stderr) == (0, "")
