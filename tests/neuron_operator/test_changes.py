"""What counts as a difference between a rendered object and the one on the cluster."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_operator.changes import (
    change_to,
    desired_hash,
    differences,
    parse_quantity,
    with_desired_hash,
    without_fields,
)

SAME = [
    pytest.param({"cpu": 1}, {"cpu": 1, "more": 2}, id="what-we-do-not-render-is-not-looked-at"),
    pytest.param({"limits": {"cpu": "1000m"}}, {"limits": {"cpu": "1"}}, id="quantities-by-value"),
    pytest.param({"sizeLimit": "1024Mi"}, {"sizeLimit": "1Gi"}, id="one-quantity"),
    pytest.param({"env": [{"name": "A"}]}, {"env": [{"name": "B"}, {"name": "A"}]}, id="keyed-lists-in-any-order"),
    pytest.param({"nodeSelector": {}}, {}, id="an-empty-map-is-dropped"),
    pytest.param({"value": ""}, {}, id="an-empty-string-is-dropped"),
    pytest.param({"readOnly": False}, {}, id="a-plain-false-is-dropped"),
    pytest.param(
        {"fieldRef": {"fieldPath": "a"}}, {"fieldRef": {"fieldPath": "a", "apiVersion": "v1"}}, id="a-default"
    ),
    pytest.param({"labels": {"a": "1"}}, {"labels": {"a": "1", "b": "2"}}, id="labels-of-others"),
    pytest.param({"ports": [{"containerPort": 80}]}, {"ports": [{"containerPort": 80, "protocol": "TCP"}]}, id="tcp"),
]
DIFFERENT = [
    pytest.param({"a": 1}, {}, ["a"], id="missing"),
    pytest.param({"a": {"b": "x"}}, {"a": {"b": "y"}}, ["a.b"], id="nested"),
    pytest.param({"limits": {"cpu": "1"}}, {"limits": {"cpu": "2"}}, ["limits.cpu"], id="quantity"),
    pytest.param({"env": [{"name": "A", "value": "1"}]}, {"env": [{"name": "A"}]}, ["env[A].value"], id="in-an-item"),
    pytest.param({"env": [{"name": "A"}]}, {"env": []}, ["env[A]"], id="item-gone"),
    pytest.param({"args": ["a"]}, {"args": ["a", "b"]}, ["args"], id="a-plain-list-is-compared-whole"),
    pytest.param({"args": ["a"]}, {"args": ["b"]}, ["args[0]"], id="in-a-plain-list"),
    pytest.param({"enabled": False}, {}, ["enabled"], id="a-false-that-is-kept"),
    pytest.param({"replicas": 0}, {"replicas": 1}, ["replicas"], id="zero"),
    pytest.param(
        {"emptyDir": {}}, {"hostPath": {"path": "/"}}, ["emptyDir"], id="an-empty-object-that-means-something"
    ),
    pytest.param({"a": True}, {"a": "true"}, ["a"], id="other-type"),
    pytest.param({"ports": [{"port": 80}]}, {"ports": [{"port": 81}]}, ["ports[80,TCP]"], id="edited-key"),
    pytest.param({"selector": {"a": "1"}}, {"selector": {"a": "1", "b": "2"}}, ["selector"], id="a-selector-of-more"),
    pytest.param(
        {"selector": {"matchLabels": {"a": "1"}}},
        {"selector": {"matchLabels": {"a": "1", "b": "2"}}},
        ["selector.matchLabels"],
        id="labels-of-a-selector",
    ),
    pytest.param(
        {"nodeSelector": {"a": "", "b": ""}}, {"nodeSelector": {"a": ""}}, ["nodeSelector.b"], id="empty-value"
    ),
    pytest.param(
        {"labels": {"limits": "a"}}, {"labels": {"limits": "b"}}, ["labels.limits"], id="a-label-like-a-field"
    ),
    pytest.param(
        {"annotations": {"divisor": "1"}}, {"annotations": {"divisor": "1000m"}}, ["annotations.divisor"], id="as-text"
    ),
]


@pytest.mark.parametrize(("desired", "live"), SAME)
def test_no_difference(desired: Any, live: Any) -> None:
    assert list(differences(desired, live)) == []


@pytest.mark.parametrize(("desired", "live", "paths"), DIFFERENT)
def test_a_difference_is_named_by_its_path(desired: Any, live: Any, paths: list[str]) -> None:
    assert list(differences(desired, live)) == paths


NAMES = st.sampled_from(["a", "b", "c", "spec"])
LEAF = st.sampled_from([1, 9, "1Gi", "x", True])
FLAT = st.dictionaries(NAMES, LEAF, min_size=1, max_size=3)
OBJECTS = st.dictionaries(NAMES, LEAF | FLAT | st.dictionaries(NAMES, FLAT, min_size=1, max_size=2), min_size=1)


@settings(max_examples=50)
@given(OBJECTS)
def test_anything_equals_itself_and_differs_from_nothing(body: dict[str, Any]) -> None:
    assert list(differences(body, body)) == []
    assert len(list(differences(body, {}))) == len(body)


POD: Any = {"env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}], "args": ["a", "b"], "paused": True}
LEFT = [
    pytest.param({"a": {"b": 1, "c": 2}}, {"a.b"}, {"a": {"c": 2}}, id="a-leaf"),
    pytest.param({"a": {"b": 1}, "c": 2}, {"a.b"}, {"c": 2}, id="what-is-emptied-goes-too"),
    pytest.param({"a": {}, "c": 2}, {"x"}, {"a": {}, "c": 2}, id="what-was-empty-stays"),
    pytest.param(POD, {"env[A].value"}, {**POD, "env": [{"name": "A"}, POD["env"][1]]}, id="in-an-item"),
    pytest.param(POD, {"env[A]"}, {**POD, "env": [POD["env"][1]]}, id="an-item"),
    pytest.param(POD, {"args[1]"}, {k: v for k, v in POD.items() if k != "args"}, id="a-plain-list-goes-whole"),
    pytest.param({"nodeSelector": {"a": "1", "b": "2"}, "x": 1}, {"nodeSelector.a"}, {"x": 1}, id="an-atomic-map"),
    pytest.param({"ab": 1, "a": 2}, {"a"}, {"ab": 1}, id="only-a-prefix-of-the-name"),
    pytest.param({"a.b": 1}, set(), {"a.b": 1}, id="nothing"),
]


@pytest.mark.parametrize(("desired", "paths", "left"), LEFT)
def test_fields_are_left_out_as_server_side_apply_owns_them(desired: Any, paths: set[str], left: Any) -> None:
    assert without_fields(desired, paths) == left


@settings(max_examples=50)
@given(OBJECTS, OBJECTS)
def test_without_the_fields_that_differ_nothing_differs(desired: dict[str, Any], live: dict[str, Any]) -> None:
    paths = set(differences(desired, live))
    assert list(differences(without_fields(desired, paths), live)) == []


@pytest.mark.parametrize(
    ("text", "number"),
    [("500m", "0.5"), ("1", "1"), (2, "2"), ("1Gi", "1073741824"), ("1G", "1e9"), ("1e3", "1000"), ("1E", "1e18")],
)
def test_parse_quantity(text: str | int, number: str) -> None:
    assert parse_quantity(text) == Decimal(number)


@pytest.mark.parametrize("text", ["", "1Q", "Gi", "1 Gi"])
def test_parse_quantity_refuses_what_is_none(text: str) -> None:
    with pytest.raises(ValueError, match="not a quantity"):
        parse_quantity(text)


def test_the_hash_does_not_depend_on_order_and_is_itself_a_leaf() -> None:
    assert desired_hash({"a": 1, "b": 2}) == desired_hash({"b": 2, "a": 1})
    body = {"kind": "Service", "metadata": {"name": "x"}, "spec": {"a": 1, "b": 2}}
    marked, less = with_desired_hash(body), with_desired_hash({**body, "spec": {"a": 1}})
    assert change_to(marked, marked) is None
    change = change_to(less, marked)
    assert change is not None, "a field that we stopped rendering is only seen by the hash"
    assert change.paths == ("metadata.annotations.neuron-serving.dev/desired-hash",)


def test_a_missing_object_is_a_change_without_paths() -> None:
    change = change_to({"a": 1}, None)
    assert change is not None
    assert change.paths == ()
