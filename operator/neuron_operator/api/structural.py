"""Pydantic's JSON schema made structural, as the API server demands of a CRD. Pure.

References are inlined, "or null" and constants rewritten, titles dropped; what a CRD can't say raises instead of being
lost silently.
"""

from functools import cache
from typing import Any

from pydantic import BaseModel

_DROPPED = {"title", "$defs", "const", "additionalProperties", "propertyNames", "prefixItems"}
_KEPT = {
    "type", "format", "description", "default", "enum", "pattern", "required", "nullable",
    "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
}  # fmt: skip


@cache
def structural_schema(model: type[BaseModel]) -> dict[str, Any]:
    """The model's schema with nothing that apiextensions would refuse."""
    raw = model.model_json_schema(by_alias=True, mode="validation")
    return _rewritten(raw, raw.get("$defs", {}))


def _rewritten(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    node = _without_null(_inlined(node, defs), defs)
    if "const" in node:
        node = {**node, "enum": [node["const"]]}
    out = {key: value for key, value in node.items() if key in _KEPT or key.startswith("x-kubernetes-")}
    unknown = node.keys() - out.keys() - _DROPPED - {"properties", "items", "anyOf", "$ref"}
    assert not unknown, f"no structural form is known for {sorted(unknown)}: a bug in the API types"
    if out.get("x-kubernetes-int-or-string"):
        out.pop("type", None)
    if "properties" in node:
        out["properties"] = {name: _rewritten(child, defs) for name, child in node["properties"].items()}
    if "items" in node:
        out["items"] = _rewritten(node["items"], defs)
    if isinstance(node.get("additionalProperties"), dict):
        out["additionalProperties"] = _rewritten(node["additionalProperties"], defs)
    if out.get("type") == "integer":
        out.setdefault("format", "int64" if out.get("maximum", 2**31) >= 2**31 else "int32")
    return _with_useful_default(out)


def _with_useful_default(node: dict[str, Any]) -> dict[str, Any]:
    """`node` without a default that says nothing: null, "", an empty list or map.

    An object keeps {} where its fields have defaults of their own, because the API server fills those in only then.
    """
    default = node.pop("default", None)
    properties = node.get("properties", {})
    if isinstance(default, dict) and properties:
        own = {name: child["default"] for name, child in properties.items() if "default" in child}
        default = {name: value for name, value in default.items() if value and value != own.get(name)}
        default = {name: _without_nulls(value) for name, value in default.items()}
        return node | {"default": default} if own or default else node
    return node if default in (None, "", [], {}) else node | {"default": default}


def _without_nulls(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _without_nulls(child) for name, child in value.items() if child is not None}
    return value


def _inlined(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    """`node` with its reference replaced by what it refers to; what stands beside the reference wins."""
    while "$ref" in node:
        beside = {key: value for key, value in node.items() if key != "$ref"}
        node = {**defs[node["$ref"].removeprefix("#/$defs/")], **beside}
    return node


def _without_null(node: dict[str, Any], defs: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" not in node:
        return node
    choices = [choice for choice in node["anyOf"] if choice.get("type") != "null"]
    assert len(choices) == 1, "a union of types has no structural form: a bug in the API types"
    beside = {key: value for key, value in node.items() if key != "anyOf"}
    return {**_inlined(choices[0], defs), **beside}
