"""What is put right by a patch where an apply alone would be refused, because it leaves to others what they added."""

from typing import Any

import pytest

from neuron_operator.mending import mending_patch

PROBE = {"httpGet": {"path": "/"}}


@pytest.mark.parametrize(
    ("desired", "live", "operations"),
    [
        pytest.param({"spec": {"a": 1}}, {"spec": {"a": 2, "b": 3}}, [], id="an-apply-does"),
        pytest.param(
            {"spec": {"ports": [{"port": 80, "name": "http"}], "a/b": {"env": [{"name": "A"}]}}},
            {"spec": {"ports": [{"port": 81, "name": "http"}], "a/b": {"env": [{"name": "A"}, {"name": "B"}]}}},
            [{"op": "replace", "path": "/spec/ports", "value": [{"port": 80, "name": "http"}]}],
            id="the-key-of-an-item-was-edited",
        ),
        pytest.param(
            {"spec": {"maxUnavailable": 1}},
            {"spec": {"minAvailable": 1}},
            [
                {"op": "remove", "path": "/spec/minAvailable"},
                {"op": "add", "path": "/spec/maxUnavailable", "value": 1},
            ],
            id="the-other-member-was-set",
        ),
        pytest.param(
            {"spec": {"maxUnavailable": 1}},
            {"spec": {"maxUnavailable": 2, "minAvailable": 1}},
            [{"op": "remove", "path": "/spec/minAvailable"}],
            id="both-members-are-set",
        ),
        pytest.param(
            {"env": [{"name": "A", "value": "1"}]},
            {"env": [{"name": "B"}, {"name": "A", "valueFrom": {"fieldRef": {}}}]},
            [{"op": "remove", "path": "/env/1/valueFrom"}, {"op": "add", "path": "/env/1/value", "value": "1"}],
            id="in-an-item",
        ),
        pytest.param(
            {"readinessProbe": {**PROBE, "periodSeconds": 2}},
            {"readinessProbe": {"exec": {}, "periodSeconds": 2}},
            [
                {"op": "remove", "path": "/readinessProbe/exec"},
                {"op": "add", "path": "/readinessProbe/httpGet", "value": PROBE["httpGet"]},
            ],
            id="a-probe",
        ),
        pytest.param(
            {"volumes": [{"name": "model", "emptyDir": {}}]},
            {"volumes": [{"name": "model", "hostPath": {"path": "/"}}]},
            [
                {"op": "remove", "path": "/volumes/0/hostPath"},
                {"op": "add", "path": "/volumes/0/emptyDir", "value": {}},
            ],
            id="a-volume",
        ),
    ],
)
def test_lists_and_choices_are_mended(desired: Any, live: Any, operations: list[dict[str, Any]]) -> None:
    assert mending_patch(desired, live) == operations
