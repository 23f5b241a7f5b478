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
    usurped_lists,
    with_desired_hash,
)

SAME = [
    pytest.param({"cpu": 1}, {"cpu": 1, "more": 2}, id="what-we-do-not-render-is-not-looked-at"),
    pytest.param({"limits": {"cpu": "1000m"}}, {"limits": {"cpu": "1"}}, id="quantities-by-value"),
    pytest.param({"sizeLimit": "1024Mi"}, {"sizeLimit": "1Gi"}, id="one-quantity"),
    pytest.param({"env": [{"name": "A"}]}, {"env": [{"name": "B"}, {"name": "A"}]}, id="keyed-lists-in-any-order"),
    pytest.param({"nodeSelector": {}}, {}, id="an-empty-map-is-dropped"),
    pytest.param({"value": ""}, {}, id="an-empty-string-is-dropped"),
    pytest.param({"readOnly": False}, {}, id="a-plain-false-is-dropped"),
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


def test_usurped_lists_are_those_where_one_of_ours_is_missing() -> None:
    desired = {"spec": {"ports": [{"port": 80, "name": "http"}], "a/b": {"env": [{"name": "A"}]}}}
    live = {"spec": {"ports": [{"port": 81, "name": "http"}], "a/b": {"env": [{"name": "A"}, {"name": "B"}]}}}
    assert dict(usurped_lists(desired, live)) == {"/spec/ports": [{"port": 80, "name": "http"}]}
