"""What the operator reads: the streams of each kind of installation, and what each of kopf's own becomes."""

import pytest

from model_builders import settings
from neuron_operator.scope import Scope, Stream

OF_MODELS = {
    "NeuronModel", "Deployment", "Service", "PodDisruptionBudget", "ControllerRevision", "Pod",
    "HorizontalPodAutoscaler",
}  # fmt: skip


@pytest.mark.parametrize(
    ("scope", "namespaces", "others"),
    [
        pytest.param(Scope(), {""}, {("Node", ""), ("APIService", "")}, id="a-laptop"),
        pytest.param(
            Scope((), "system"), {""}, {("Node", ""), ("APIService", ""), ("Lease", "system")}, id="the-whole-cluster"
        ),
        pytest.param(
            Scope((), "system", reads_nodes=False), {""}, {("APIService", ""), ("Lease", "system")}, id="but-nodes"
        ),
        pytest.param(
            Scope(("shop", "lab"), "system", reads_nodes=False), {"shop", "lab"}, {("Lease", "system")}, id="two"
        ),
        pytest.param(Scope(("shop",), "shop"), {"shop"}, {("Node", ""), ("Lease", "shop")}, id="its-own-and-nodes"),
        pytest.param(Scope(("shop",), "", reads_nodes=False), {"shop"}, set(), id="one-without-election"),
    ],
)
def test_streams(scope: Scope, namespaces: set[str], others: set[tuple[str, str]]) -> None:
    of_models = {(kind, namespace) for kind in OF_MODELS for namespace in namespaces}
    assert set(scope.streams) == of_models | others
    assert len(scope.streams) == len(set(scope.streams))
    assert set(scope.kinds) == OF_MODELS | {kind for kind, _ in others}


@pytest.mark.parametrize(
    ("scope", "kind", "namespace", "expected"),
    [
        pytest.param(Scope((), "system"), "Pod", None, ("Pod", ""), id="everywhere"),
        pytest.param(Scope((), "system"), "Lease", None, ("Lease", "system"), id="the-lease-alone"),
        pytest.param(Scope(("shop", "lab"), "system"), "Pod", "lab", ("Pod", "lab"), id="in-one-of-two"),
        pytest.param(Scope(("shop", "lab"), "system"), "Pod", "system", None, id="not-beside-the-lease"),
        pytest.param(Scope(("shop", "lab"), "system"), "Lease", "shop", None, id="not-the-lease-of-others"),
        pytest.param(Scope(("shop", "lab"), "system"), "Lease", "system", ("Lease", "system"), id="the-lease"),
        pytest.param(Scope(("shop",), "system"), "Node", None, ("Node", ""), id="nodes-have-no-namespace"),
        pytest.param(Scope(("shop",), "system", reads_nodes=False), "Node", None, None, id="no-nodes"),
    ],
)
def test_in_place_of_what_kopf_asks(
    scope: Scope, kind: str, namespace: str | None, expected: tuple[str, str] | None
) -> None:
    assert scope.stream_for(kind, namespace) == expected


@pytest.mark.parametrize(
    ("over", "expected"),
    [
        pytest.param({}, Scope((), "default"), id="defaults"),
        pytest.param({"leader_election": False}, Scope(), id="alone"),
        pytest.param(
            {"watch_namespaces": ("shop",)}, Scope(("shop",), "default", reads_nodes=False), id="one-namespace"
        ),
        pytest.param({"watch_namespaces": ("shop",), "read_nodes": True}, Scope(("shop",), "default"), id="and-nodes"),
        pytest.param({"read_nodes": False}, Scope((), "default", reads_nodes=False), id="without-nodes"),
    ],
)
def test_scope_of_settings(over: dict[str, object], expected: Scope) -> None:
    assert Scope.of(settings(**over)) == expected


def test_the_namespaces_that_are_watched_are_the_leases_too() -> None:
    assert Scope(("shop", "lab"), "system").all_namespaces == ("lab", "shop", "system")
    assert Scope(("shop",), "shop").all_namespaces == ("shop",)
    assert Scope((), "system").all_namespaces == ()


def test_a_stream_is_told_with_its_namespace() -> None:
    assert (str(Stream("Pod")), str(Stream("Pod", "shop"))) == ("Pod", "Pod in shop")
