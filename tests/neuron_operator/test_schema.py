"""The CRD before an API server sees it: structural, bounded, described, and the same as the committed file."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest
import yaml
from pydantic import BaseModel, Field

import gen_catalog
import gen_crd
import gen_operator_reference
from neuron_operator.api.schema import custom_resource_definition
from neuron_operator.api.structural import structural_schema

ROOT = Path(__file__).parents[2]
STRUCTURAL = {
    "type", "format", "description", "default", "enum", "pattern", "required", "properties", "items", "nullable",
    "additionalProperties", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "maxProperties",
    "x-kubernetes-int-or-string", "x-kubernetes-list-map-keys", "x-kubernetes-list-type", "x-kubernetes-validations",
}  # fmt: skip
Node = dict[str, Any]


def nodes(schema: Node, path: str) -> Iterator[tuple[str, Node]]:
    yield path, schema
    for name, child in schema.get("properties", {}).items():
        yield from nodes(child, f"{path}.{name}")
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from nodes(schema[key], f"{path}[]")


def every_node() -> list[tuple[str, Node]]:
    schema = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]
    return [found for part in ("spec", "status") for found in nodes(schema["properties"][part], part)]


def test_only_structural_keywords_are_used() -> None:
    assert {key for _, node in every_node() for key in node} <= STRUCTURAL


def test_every_string_list_and_map_has_a_maximum() -> None:
    unbounded = [
        path
        for path, node in every_node()
        if (node.get("type") == "string" and "maxLength" not in node and "enum" not in node)
        or (node.get("type") == "array" and "maxItems" not in node)
        or ("additionalProperties" in node and "maxProperties" not in node)
        or (node.get("x-kubernetes-int-or-string") and "maxLength" not in node)
    ]
    assert unbounded == []


def test_every_field_has_a_description_in_a_sentence() -> None:
    undescribed = [
        path for path, node in every_node() if not path.endswith("[]") and not node.get("description", "").endswith(".")
    ]
    assert undescribed == []


def test_every_list_says_how_it_is_merged() -> None:
    spec = [(path, node) for path, node in every_node() if path.startswith("spec") and node.get("type") == "array"]
    assert [path for path, node in spec if "x-kubernetes-list-type" not in node] == []


def test_unknown_fields_are_never_kept() -> None:
    assert "preserve-unknown-fields" not in str(custom_resource_definition())


def test_every_rule_says_what_is_wrong_and_what_to_do() -> None:
    messages = [rule["message"] for _, node in every_node() for rule in node.get("x-kubernetes-validations", [])]
    assert len(messages) > 20
    assert [message for message in messages if len(message.split()) < 6] == []


def test_the_status_has_no_default_but_on_itself() -> None:
    defaults = {path: node["default"] for path, node in every_node() if path.startswith("status") and "default" in node}
    assert defaults == {"status": {"observedGeneration": -1}}


class Inner(BaseModel):
    """A docstring becomes the description unless the field has one."""

    size: int = Field(default=3, ge=1, le=5)


class Outer(BaseModel):
    kind: Literal["one"] = "one"
    note: str | None = Field(default=None, max_length=5)
    inner: Inner = Field(default=Inner(), description="What is inside.")
    tags: dict[str, str] = {}


class Mixed(BaseModel):
    value: int | str


class Exclusive(BaseModel):
    value: float = Field(gt=0)


def test_what_pydantic_says_is_rewritten_to_what_a_crd_can_say() -> None:
    assert structural_schema(Outer) == {
        "type": "object",
        "properties": {
            "kind": {"type": "string", "enum": ["one"], "default": "one"},
            "note": {"type": "string", "maxLength": 5},
            "inner": {
                "type": "object",
                "description": "What is inside.",
                "properties": {
                    "size": {"type": "integer", "format": "int32", "minimum": 1, "maximum": 5, "default": 3}
                },
                "default": {},
            },
            "tags": {"type": "object", "additionalProperties": {"type": "string"}},
        },
    }


@pytest.mark.parametrize("unsayable", [Mixed, Exclusive])
def test_what_a_crd_cannot_say_is_a_bug_that_is_told(unsayable: type[BaseModel]) -> None:
    with pytest.raises(AssertionError, match="no structural form"):
        structural_schema(unsayable)


@pytest.mark.parametrize("generator", [gen_crd, gen_catalog, gen_operator_reference], ids=lambda found: found.__name__)
def test_what_is_generated_is_up_to_date(generator: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert generator.main(["--check"]) == 0, capsys.readouterr().err


def test_the_committed_crd_is_what_the_types_say() -> None:
    text = (ROOT / "crds" / "neuronmodels.neuron-serving.dev.yaml").read_text(encoding="utf-8")
    assert yaml.safe_load(text) == custom_resource_definition()
    assert len(text.encode()) < 100_000
