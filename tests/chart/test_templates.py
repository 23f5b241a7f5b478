"""What each value does to the rendered objects."""

from typing import Any

import pytest
import yaml

from chart.rendered import CHART, Manifest, one, render, run_helm, settings

pytestmark = pytest.mark.integration

DIGEST = f"sha256:{'a' * 64}"
POD = "spec.template.spec"
OPERATOR = f"{POD}.containers.0"
INGRESS = "spec.ingress.1.from"
APART = "template.spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution"
ABSENT = "absent"


def at(manifest: Any, path: str) -> Any:
    """What is at a dotted path, or ABSENT."""
    found = manifest
    for step in path.split("."):
        try:
            found = found[int(step)] if isinstance(found, list) else found[step]
        except (KeyError, IndexError):
            return ABSENT
    return found


def environment(manifests: list[Manifest]) -> dict[str, str]:
    return {each["name"]: each.get("value", "") for each in at(one(manifests, "Deployment"), f"{OPERATOR}.env")}


def kinds(manifests: list[Manifest]) -> set[str]:
    return {each["kind"] for each in manifests}


@pytest.mark.parametrize(
    ("values", "kind", "path", "expected"),
    [
        ({}, "Deployment", f"{OPERATOR}.image", "docker.io/neuron-serving/operator:0.1.0"),
        ({}, "Deployment", "spec.strategy", {"type": "Recreate"}),
        ({"image.repository": "r/op", "image.tag": "7"}, "Deployment", f"{OPERATOR}.image", "r/op:7"),
        ({"image.repository": "r/op", "image.digest": DIGEST}, "Deployment", f"{OPERATOR}.image", f"r/op@{DIGEST}"),
        ({"image.pullPolicy": "Always"}, "Deployment", f"{OPERATOR}.imagePullPolicy", "Always"),
        ({"imagePullSecrets": [{"name": "pull"}]}, "Deployment", f"{POD}.imagePullSecrets", [{"name": "pull"}]),
        ({"resources": {"limits": {"cpu": "1"}}}, "Deployment", f"{OPERATOR}.resources.limits.cpu", "1"),
        ({"podAnnotations": {"a": "b"}}, "Deployment", "spec.template.metadata.annotations", {"a": "b"}),
        ({"podLabels": {"a": "b"}}, "Deployment", "spec.template.metadata.labels.a", "b"),
        ({"nodeSelector": {"a": "b"}}, "Deployment", f"{POD}.nodeSelector", {"a": "b"}),
        ({"tolerations": [{"operator": "Exists"}]}, "Deployment", f"{POD}.tolerations", [{"operator": "Exists"}]),
        ({"affinity": {"nodeAffinity": {}}}, "Deployment", f"{POD}.affinity", {"nodeAffinity": {}}),
        ({"priorityClassName": "high"}, "Deployment", f"{POD}.priorityClassName", "high"),
        ({"fullnameOverride": "ns"}, "Deployment", "metadata.name", "ns"),
        ({}, "Deployment", "spec.replicas", 2),
        ({"replicas": 1}, "Deployment", "spec.replicas", 1),
        ({"replicas": 1}, "PodDisruptionBudget", "spec.maxUnavailable", 1),
        ({"serviceAccount.create": False}, "Deployment", f"{POD}.serviceAccountName", "default"),
        ({"serviceAccount.name": "sa"}, "Deployment", f"{POD}.serviceAccountName", "sa"),
        ({"serviceAccount.name": "sa"}, "ServiceAccount", "metadata.name", "sa"),
        ({"serviceAccount.annotations": {"a": "b"}}, "ServiceAccount", "metadata.annotations", {"a": "b"}),
        (
            {"metrics.serviceMonitor.enabled": True, "metrics.serviceMonitor.interval": "5s"},
            "ServiceMonitor",
            "spec.endpoints.0.interval",
            "5s",
        ),
        (
            {"metrics.podMonitor.enabled": True, "metrics.podMonitor.labels": {"team": "x"}},
            "PodMonitor",
            "metadata.labels.team",
            "x",
        ),
        ({"metrics.podMonitor.enabled": True}, "PodMonitor", "spec.namespaceSelector", {"any": True}),
        (
            {"metrics.podMonitor.enabled": True, "watchNamespaces": ["shop"]},
            "PodMonitor",
            "spec.namespaceSelector",
            {"matchNames": ["shop"]},
        ),
        ({"networkPolicy.enabled": True}, "NetworkPolicy", INGRESS, ABSENT),
        (
            {"networkPolicy.enabled": True, "networkPolicy.metricsFrom": [{"podSelector": {}}]},
            "NetworkPolicy",
            INGRESS,
            [{"podSelector": {}}],
        ),
    ],
)
def test_value_changes_what_it_names(values: dict[str, Any], kind: str, path: str, expected: Any) -> None:
    assert at(one(render(values), kind), path) == expected


@pytest.mark.parametrize(
    ("values", "name", "expected"),
    [
        ({}, "NEURON_OPERATOR_RUNTIME_IMAGE", "docker.io/neuron-serving/runtime:0.1.0"),
        ({"runtime.image": "r.example/rt:3"}, "NEURON_OPERATOR_RUNTIME_IMAGE", "r.example/rt:3"),
        ({"runtime.imagePullPolicy": "Never"}, "NEURON_OPERATOR_RUNTIME_IMAGE_PULL_POLICY", "Never"),
        ({"neuron.schedulerName": "neuron"}, "NEURON_OPERATOR_SCHEDULER_NAME", "neuron"),
        ({"logLevel": "debug"}, "NEURON_OPERATOR_LOG_LEVEL", "debug"),
        ({}, "NEURON_OPERATOR_WATCH_NAMESPACES", ""),
        ({"watchNamespaces": ["shop", "lab"]}, "NEURON_OPERATOR_WATCH_NAMESPACES", "shop,lab"),
        ({}, "NEURON_OPERATOR_READ_NODES", "true"),
        ({"rbac.nodes": False}, "NEURON_OPERATOR_READ_NODES", "false"),
        ({"watchNamespaces": ["shop"]}, "NEURON_OPERATOR_READ_NODES", "false"),
        ({"watchNamespaces": ["shop"], "rbac.nodes": True}, "NEURON_OPERATOR_READ_NODES", "true"),
        ({"runbookUrl": "https://wiki.example/nm"}, "NEURON_OPERATOR_RUNBOOK_URL", "https://wiki.example/nm"),
        ({"env": [{"name": "HTTPS_PROXY", "value": "http://proxy"}]}, "HTTPS_PROXY", "http://proxy"),
    ],
)
def test_value_reaches_the_operator(values: dict[str, Any], name: str, expected: str) -> None:
    assert environment(render(values))[name] == expected


@pytest.mark.parametrize(
    ("values", "missing", "there"),
    [
        ({}, {"ServiceMonitor", "PodMonitor", "NetworkPolicy"}, {"CustomResourceDefinition", "Service"}),
        ({"crds.install": False}, {"CustomResourceDefinition"}, {"Deployment"}),
        (
            {"rbac.create": False},
            {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"},
            {"ServiceAccount", "PodDisruptionBudget"},
        ),
        ({"watchNamespaces": ["shop"]}, {"ClusterRole", "ClusterRoleBinding"}, {"Role", "RoleBinding"}),
        ({"serviceAccount.create": False}, {"ServiceAccount"}, {"ClusterRoleBinding"}),
        ({"metrics.service": False}, {"Service"}, {"Deployment"}),
        ({"metrics.service": False, "metrics.serviceMonitor.enabled": True}, set(), {"Service", "ServiceMonitor"}),
    ],
)
def test_value_switches_objects(values: dict[str, Any], missing: set[str], there: set[str]) -> None:
    found = kinds(render(values))
    assert (found & missing, there - found) == (set(), set())


def test_lint_finds_nothing() -> None:
    done = run_helm("lint", "--strict", str(CHART))
    assert done.returncode == 0, done.stdout + done.stderr


def test_unknown_value_is_refused_before_anything_is_sent() -> None:
    done = run_helm("template", "x", str(CHART), "--kube-version=1.36.0", *settings({"imagee": {"tag": "1"}}))
    assert done.returncode != 0
    assert "imagee" in done.stderr


def test_definition_survives_uninstall_and_is_the_one_in_crds() -> None:
    rendered = one(render(), "CustomResourceDefinition")
    metadata = rendered["metadata"]
    assert metadata["annotations"]["helm.sh/resource-policy"] == "keep"
    source = yaml.safe_load((CHART.parents[1] / "crds" / f"{metadata['name']}.yaml").read_text())
    assert rendered["spec"] == source["spec"]


def test_every_object_is_labeled_and_the_selectors_agree() -> None:
    manifests = render({"metrics.serviceMonitor.enabled": True, "networkPolicy.enabled": True})
    assert {each["metadata"]["labels"]["app.kubernetes.io/managed-by"] for each in manifests} == {"Helm"}
    deployment = one(manifests, "Deployment")["spec"]
    selector = deployment["selector"]["matchLabels"]
    assert selector.items() <= deployment["template"]["metadata"]["labels"].items()
    assert one(manifests, "Service")["spec"]["selector"] == selector
    assert one(manifests, "NetworkPolicy")["spec"]["podSelector"]["matchLabels"] == selector
    assert one(manifests, "PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == selector
    apart = at(deployment, APART)
    assert [at(each, "podAffinityTerm.labelSelector.matchLabels") for each in apart] == [selector] * 2
    assert selector.items() <= one(manifests, "Service")["metadata"]["labels"].items()


def test_probes_and_ports_name_each_other() -> None:
    manifests = render()
    operator = at(one(manifests, "Deployment"), OPERATOR)
    ports = {each["name"]: str(each["containerPort"]) for each in operator["ports"]}
    probed = {operator[probe]["httpGet"]["port"] for probe in ("startupProbe", "livenessProbe", "readinessProbe")}
    assert probed == {"health"}
    told = environment(manifests)
    assert ports == {"health": told["NEURON_OPERATOR_HEALTH_PORT"], "metrics": told["NEURON_OPERATOR_METRICS_PORT"]}


def test_replicas_are_spread_over_nodes_and_zones_where_there_are_several() -> None:
    apart = at(one(render(), "Deployment"), f"spec.{APART}")
    weights = {at(each, "podAffinityTerm.topologyKey"): each["weight"] for each in apart}
    assert weights == {"kubernetes.io/hostname": 100, "topology.kubernetes.io/zone": 50}


def test_the_lease_is_where_the_role_allows_it() -> None:
    told = {each["name"]: each for each in at(one(render(), "Deployment"), f"{OPERATOR}.env")}
    field = told["NEURON_OPERATOR_LEASE_NAMESPACE"]["valueFrom"]["fieldRef"]["fieldPath"]
    assert field == "metadata.namespace"


@pytest.mark.parametrize(
    ("release", "expected"),
    [("neuron-serving", "neuron-serving"), ("my-neuron-serving", "my-neuron-serving"), ("prod", "prod-neuron-serving")],
)
def test_objects_are_named_after_the_release(release: str, expected: str) -> None:
    assert one(render(release=release), "Deployment")["metadata"]["name"] == expected
