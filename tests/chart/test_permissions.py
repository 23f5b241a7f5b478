"""Least privilege: the chart grants what the operator's code calls, verb for verb."""

from collections import defaultdict

import pytest

from chart.rendered import NAMESPACE, Manifest, one, render
from neuron_operator.cluster import RESOURCES
from neuron_operator.handlers import WATCHED
from neuron_operator.indices import CHILD_KINDS
from neuron_operator.names import GROUP, KIND, LEASE_NAME, PLURAL

pytestmark = pytest.mark.integration

Grants = dict[tuple[str, str], set[str]]


def grants(role: Manifest) -> Grants:
    """A role as (API group, resource) -> verbs."""
    found: Grants = defaultdict(set)
    for rule in role["rules"]:
        for group in rule["apiGroups"]:
            for resource in rule["resources"]:
                found[group, resource] |= set(rule["verbs"])
    return dict(found)


def resource(kind: str) -> tuple[str, str]:
    api_version, plural = RESOURCES[kind]
    return (api_version.rpartition("/")[0], plural)


def used() -> Grants:
    """What the operator calls: its watches, its children, its status, its events."""
    calls: Grants = defaultdict(set)
    for kind in WATCHED:
        calls[resource(kind)] |= {"list", "watch"}
    for kind in CHILD_KINDS:
        # Server-side apply is a patch, and a create where nothing is there; a name that is taken is read once.
        calls[resource(kind)] |= {"get", "create", "patch", "delete"}
    calls[GROUP, f"{PLURAL}/status"] |= {"patch"}
    calls[GROUP, f"{PLURAL}/finalizers"] |= {"update"}
    calls[resource("Event")] |= {"get", "create", "patch"}
    return dict(calls)


def test_operator_gets_what_it_calls_and_nothing_else() -> None:
    assert grants(one(render(), "ClusterRole", "neuron-serving")) == used()


def test_the_lease_is_written_in_the_operators_namespace_alone() -> None:
    role = one(render(), "Role")
    assert role["metadata"]["namespace"] == NAMESPACE
    assert grants(role) == {resource("Lease"): {"get", "create", "update"}}
    # An object that is being created can't be told by its name.
    named = {tuple(rule["verbs"]): rule.get("resourceNames") for rule in role["rules"]}
    assert named == {("create",): None, ("get", "update"): [LEASE_NAME]}


def test_every_kind_the_operator_knows_is_covered() -> None:
    assert {resource(kind) for kind in RESOURCES} <= set(used())


def test_operator_cannot_change_a_model() -> None:
    assert grants(one(render(), "ClusterRole", "neuron-serving"))[resource(KIND)] == {"list", "watch"}


@pytest.mark.parametrize("scope", ["Cluster", ""])
def test_binding_joins_the_role_and_the_account_of_the_pod(scope: str) -> None:
    manifests = render()
    binding = one(manifests, f"{scope}RoleBinding")
    assert binding["roleRef"]["kind"] == f"{scope}Role"
    subject = binding["subjects"][0]
    pod = one(manifests, "Deployment")["spec"]["template"]["spec"]
    assert binding["roleRef"]["name"] == "neuron-serving"
    assert (subject["name"], subject["namespace"]) == (pod["serviceAccountName"], "neuron-serving-system")


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
