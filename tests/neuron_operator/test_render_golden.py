"""Rendered children as files, so that a change of the renderer is reviewed as a diff of what reaches the cluster.

`UPDATE_GOLDEN=1 python -m pytest tests/neuron_operator/test_render_golden.py` rewrites them.
"""

import os
from pathlib import Path
from typing import Any

import pytest

from crd_cases import EVERYTHING
from model_builders import model, placement_of, settings
from neuron_operator.manifests import as_yaml
from neuron_operator.render import desired_children, pod_template

GOLDEN = Path(__file__).parent / "golden"
SIDECAR: dict[str, Any] = {
    "service": {"targetPort": 9000},
    "pod": {"containers": [{"name": "web", "image": "example.com/web:1", "ports": [{"containerPort": 9000}]}]},
}
CASES: dict[str, dict[str, Any]] = {
    "smallest": {},
    "everything": EVERYTHING,
    "sidecar": SIDECAR,
    "suspended": {"suspend": True, "replicas": 4},
    "packed": {"neuronCores": 1, "replicas": 2, "placement": {"spread": "None"}},
}


@pytest.mark.parametrize("name", CASES)
def test_rendered_children_are_the_reviewed_ones(name: str) -> None:
    found = model(name, **CASES[name])
    rendered = as_yaml(desired_children(found, pod_template(found, placement_of(found), settings())))
    target = GOLDEN / f"{name}.yaml"
    if os.environ.get("UPDATE_GOLDEN"):
        target.write_text(rendered, encoding="utf-8")
    assert rendered == target.read_text(encoding="utf-8")


def test_no_golden_file_is_left_over() -> None:
    assert {path.stem for path in GOLDEN.glob("*.yaml")} == set(CASES)
