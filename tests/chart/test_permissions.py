"""Least privilege: the chart grants what the operator's code calls, verb for verb."""

from collections import defaultdict
from collections.abc import Sequence
from typing import Any

import pytest

from chart.rendered import NAMESPACE, Manifest, one, render
from neuron_operator.cluster import RESOURCES
from neuron_operator.indices import CHILD_KINDS
from neuron_operator.names import GROUP, KIND, LEASE_NAME, PLURAL
from neuron_operator.scope import EVERYWHERE, LEASE, Scope

pytestmark = pytest.mark.integration

# By API group and resource.
Grants = dict[tuple[str, str], set[str]]
ACCOUNT = {"kind": "ServiceAccount", "name": "neuron-serving", "namespace": NAMESPACE}
TWO_NAMESPACES = {"watchNamespaces": ["shop", "lab"]}
SCOPES = [
    pytest.param({}, Scope((), NAMESPACE, reads_nodes=True), id="the-whole-cluster"),
    pytest.param({"rbac.nodes": False}, Scope((), NAMESPACE, reads_nodes=False), id="the-whole-cluster-but-nodes"),
    pytest.param(TWO_NAMESPACES, Scope(("shop", "lab"), NAMESPACE, reads_nodes=False), id="two-namespaces"),
    pytest.param(
        {**TWO_NAMESPACES, "rbac.nodes": True},
        Scope(("shop", "lab"), NAMESPACE, reads_nodes=True),
        id="two-namespaces-and-nodes",
    ),
    pytest.param(
        {"watchNamespaces": [NAMESPACE]}, Scope((NAMESPACE,), NAMESPACE, reads_nodes=False), id="its-own-namespace"
    ),
]


def grants(*roles: Manifest) -> Grants:
    """What the roles allow together."""
    found: Grants = defaultdict(set)
    for rule in (rule for role in roles for rule in role["rules"]):
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found[group, resource] |= set(rule["verbs"])
    return dict(found)


def granted(manifests: Sequence[Manifest]) -> dict[str, Grants]:
    """What the operator's account may do in each namespace; everywhere, under the empty name."""
    roles: dict[str, list[Manifest]] = defaultdict(list)
    for binding in manifests:
        if binding["kind"] in ("RoleBinding", "ClusterRoleBinding") and binding["subjects"] == [ACCOUNT]:
            namespace = binding["metadata"].get("namespace", EVERYWHERE)
            candidates = [each for each in manifests if each["metadata"].get("namespace", EVERYWHERE) == namespace]
            roles[namespace].append(one(candidates, binding["roleRef"]["kind"], binding["roleRef"]["name"]))
    return {namespace: grants(*found) for namespace, found in roles.items()}


def resource(kind: str) -> tuple[str, str]:
    api_version, plural = RESOURCES[kind]
    return (api_version.rpartition("/")[0], plural)


def used(scope: Scope) -> dict[str, Grants]:
    """What the operator calls: its watches, its children, its status, its events, its Lease."""
    calls: dict[str, Grants] = defaultdict(lambda: defaultdict(set))
    for stream in scope.streams:
        calls[stream.namespace][resource(stream.kind)] |= {"list", "watch"}
    for of_models in (calls[namespace] for namespace in scope.asked_namespaces):
        for kind in CHILD_KINDS:
            # Server-side apply is a patch, and a create where nothing is there; a name that is taken is read once.
            of_models[resource(kind)] |= {"get", "create", "patch", "delete"}
        # Before a child is made again.
        of_models[GROUP, PLURAL] |= {"get"}
        of_models[GROUP, f"{PLURAL}/status"] |= {"patch"}
        of_models[GROUP, f"{PLURAL}/finalizers"] |= {"update"}
        of_models[resource("Event")] |= {"get", "create", "patch"}
    calls[scope.lease_namespace][resource(LEASE)] |= {"get", "create", "update"}
    if scope.reads_nodes:
        calls[EVERYWHERE][resource("Pod")] |= {"list"}
    return {namespace: dict(found) for namespace, found in calls.items()}


@pytest.mark.parametrize(("values", "scope"), SCOPES)
def test_operator_gets_what_it_calls_and_nothing_else(values: dict[str, Any], scope: Scope) -> None:
    assert granted(render(values)) == used(scope)


def test_namespaces_of_its_own_need_nothing_of_the_whole_cluster() -> None:
    kinds = {each["kind"] for each in render({**TWO_NAMESPACES, "crds.install": False})}
    assert {kind for kind in kinds if kind.startswith("Cluster") or kind == "CustomResourceDefinition"} == set()


def test_of_the_leases_only_its_own_is_written() -> None:
    role = one([each for each in render() if each["kind"] == "Role"], "Role")
    # An object that is being created or listed can't be told by its name.
    named = {tuple(rule["verbs"]): rule.get("resourceNames") for rule in role["rules"]}
    assert named == {("create", "list", "watch"): None, ("get", "update"): [LEASE_NAME]}


def test_every_kind_the_operator_knows_is_covered() -> None:
    everything = used(Scope((), NAMESPACE))
    assert {resource(kind) for kind in RESOURCES} <= set().union(*everything.values())


@pytest.mark.parametrize(("values", "scope"), SCOPES)
def test_operator_cannot_change_a_model(values: dict[str, Any], scope: Scope) -> None:
    found = granted(render(values))
    assert {namespace for namespace in found if resource(KIND) in found[namespace]} == set(scope.asked_namespaces)
    assert all(found[namespace][resource(KIND)] == {"get", "list", "watch"} for namespace in scope.asked_namespaces)


@pytest.mark.parametrize("values", [{}, TWO_NAMESPACES])
def test_the_roles_are_those_of_the_account_of_the_pod(values: dict[str, Any]) -> None:
    pod = one(render(values), "Deployment")["spec"]["template"]["spec"]
    assert pod["serviceAccountName"] == ACCOUNT["name"]


@pytest.mark.parametrize(
    ("name", "aggregated_to", "verbs"),
    [
        ("neuron-serving-view", {"view", "edit", "admin"}, {"get", "list", "watch"}),
        ("neuron-serving-edit", {"edit", "admin"}, {"create", "update", "patch", "delete", "deletecollection"}),
    ],
)
def test_people_get_models_through_kubernetes_own_roles(name: str, aggregated_to: set[str], verbs: set[str]) -> None:
    role = one(render(), "ClusterRole", name)
    prefix = "rbac.authorization.k8s.io/aggregate-to-"
    labels = role["metadata"]["labels"]
    assert {label.removeprefix(prefix) for label in labels if label.startswith(prefix)} == aggregated_to
    assert grants(role)[GROUP, PLURAL] == verbs
    assert all(group == GROUP and found.startswith(PLURAL) for group, found in grants(role))
