"""The chart's values: each has a default, a schema that refuses mistakes, and a template that uses it."""

import json
import re
from collections.abc import Iterator
from copy import deepcopy
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from neuron_operator.settings import ENV_PREFIX, Settings

CHART = Path(__file__).parents[2] / "charts" / "neuron-serving"
VALUES: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text())
SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
TEMPLATES = "\n".join(path.read_text() for path in sorted((CHART / "templates").iterdir()) if path.name != "NOTES.txt")


def with_value(path: str, value: Any) -> dict[str, Any]:
    """The defaults with one value changed."""
    changed = deepcopy(VALUES)
    *parents, last = path.split(".")
    at = changed
    for parent in parents:
        at = at[parent]
    at[last] = value
    return changed


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, value in values.items():
        if isinstance(value, dict) and value and name != "resources":
            yield from leaves(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}"


def test_defaults_are_valid() -> None:
    jsonschema.validate(VALUES, SCHEMA)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("imagee", {}),
        ("image.tagg", "1"),
        ("image.tag", 1.5),
        ("image.tag", "a tag"),
        ("image.digest", "sha256:abc"),
        ("image.repository", ""),
        ("image.repository", "example.com/operator@sha256:abc"),
        ("image.pullPolicy", "Sometimes"),
        ("imagePullSecrets", ["name"]),
        ("runtime.image", "two words"),
        ("runtime.imagePullPolicy", ""),
        ("runtime.tag", "1"),
        ("neuron.schedulerName", None),
        ("logLevel", "verbose"),
        ("watchNamespaces", "shop"),
        ("watchNamespaces", ["shop", "shop"]),
        ("watchNamespaces", ["Shop"]),
        ("watchNamespaces", ["a,b"]),
        ("watchNamespaces", ["-shop"]),
        ("watchNamespaces", ["s" * 64]),
        ("rbac.nodes", "true"),
        ("env", [{"value": "nameless"}]),
        ("crds.install", "yes"),
        ("rbac.create", 1),
        ("serviceAccount.annotations", {"role": 3}),
        ("metrics.serviceMonitor.interval", "30"),
        ("metrics.podMonitor.enabled", "true"),
        ("networkPolicy.metricsFrom", "everyone"),
        ("resources.limit", {}),
        ("podLabels", []),
        ("nodeSelector", {"zone": None}),
        ("tolerations", {}),
        ("fullnameOverride", "Upper"),
        ("replicas", 0),
        ("replicas", "2"),
        ("replica", 2),
    ],
)
def test_mistake_is_refused(path: str, value: Any) -> None:
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(with_value(path, value), SCHEMA)


def test_schema_knows_exactly_the_values_there_are() -> None:
    assert set(SCHEMA["properties"]) - {"global"} == set(VALUES)


@pytest.mark.parametrize("path", list(leaves(VALUES)))
def test_value_is_used_by_a_template(path: str) -> None:
    *parents, last = path.split(".")
    direct = rf"\.Values\.{re.escape(path)}\b"
    through_with = rf"\.Values\.{re.escape('.'.join(parents))} \}}.*?\.{last}\b" if parents else "(?!)"
    assert re.search(f"{direct}|{through_with}", TEMPLATES, re.DOTALL)


def test_every_variable_of_the_operator_is_one_of_its_settings() -> None:
    given = set(re.findall(rf"name: {ENV_PREFIX}(\w+)", TEMPLATES))
    assert {name.lower() for name in given} <= set(Settings.model_fields)
    assert {"runtime_image", "scheduler_name", "log_level"} <= {name.lower() for name in given}
