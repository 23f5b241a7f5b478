"""One case for every limit of the CRD's schema, made by walking the committed file: what just fits, what just doesn't.

Judged twice like `crd_cases.py`. A keyword, rule or field that is added to the schema has its cases at once, or fails
here because nothing is known that fits it or breaks it.
"""

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

CRD = Path(__file__).parents[1] / "crds" / "neuronmodels.neuron-serving.dev.yaml"
RULES = "x-kubernetes-validations"
Node = dict[str, Any]
Steps = tuple[str | int, ...]

BASE: Node = {
    "artifact": {"uri": "s3://models/x/"},
    "neuronCores": 2,
    "pod": {"volumes": [{"name": "v", "emptyDir": {}}]},
}
# Of each of these an object has one; where one is needed it is the first.
NEEDED = (
    ("exec", "httpGet", "tcpSocket"),
    ("emptyDir", "configMap", "secret", "persistentVolumeClaim"),
    ("fieldRef", "configMapKeyRef", "secretKeyRef"),
    ("configMapRef", "secretRef"),
)
RIVALS = (*NEEDED, ("value", "valueFrom"))
# What stands in a field that an object can't do without, and in a map.
SAMPLES: Node = {
    "name": "v", "uri": "s3://models/x/", "neuronCores": 2, "image": "example.com/app:1", "key": "k", "port": 9000,
    "containerPort": 9000, "mountPath": "/m", "secretName": "s", "claimName": "c", "fieldPath": "metadata.name",
}  # fmt: skip
MAP_KEYS = {"requests": "cpu", "limits": "memory"}
HOST_RESOURCES = ("cpu", "memory", "ephemeral-storage", "gpu")
# The start and the end of a string that is as long as asked and still has the right shape.
SHAPES = {
    "uri": ("s3://models/", ""),
    "instanceTypes": ("inf2.", ""),
    "fieldPath": ("metadata.annotations['", f"/{'b' * 63}']"),
    "mountPath": ("/", ""),
    "tolerations.key": ("", f"/{'b' * 63}"),
    "workingDir": ("/", ""),
}
WRONG_TYPES: Node = {"integer": "text", "string": 7, "boolean": "yes", "array": {}, "object": ["a"]}
# Never valid in any pattern of the schema.
OUT_OF_SHAPE = "a b"
# A value for each rule that breaks it and no other limit, by the first words of its message.
BREAKERS: Node = {
    "artifact.uri must be s3://BUCKET": "ftp://models/x/",
    "artifact.uri must name a PersistentVolumeClaim": "pvc://Claim/x",
    "artifact.digest must be sha256:": "sha256:12",
    "neuronCores must be 1 to 24": 25,
    "a key must look like": {"a b": "c"},
    "a toleration without a key": {"value": "b"},
    "a toleration with operator Exists": {"key": "a", "operator": "Exists", "value": "b"},
    "tolerationSeconds only works": {"key": "a", "tolerationSeconds": 5},
    "service.targetPort must be": 70000,
    "service.targetPort names a port": {**BASE, "service": {"targetPort": "web"}},
    "only cpu, memory and ephemeral-storage": {"aws.amazon.com/neuroncore": 1},
    "a volumeMount names a volume": {"containers": [{"name": "a", "image": "b", "volumeMounts": [
        {"name": "no", "mountPath": "/x"}]}]},
    "the operator sets NEURON_RT_VISIBLE_CORES": [{"name": "NEURON_RT_VISIBLE_CORES", "value": "0"}],
    "a variable has either value": {"name": "A", "value": "1", "valueFrom": {
        "fieldRef": {"fieldPath": "metadata.uid"}}},
    "valueFrom needs exactly one": {},
    "envFrom needs exactly one": {"configMapRef": {"name": "a"}, "secretRef": {"name": "a"}},
    "labels under neuron-serving.dev/": {"neuron-serving.dev/model": "other"},
    "the volume names model, tmp": [{"name": "tmp", "emptyDir": {}}],
    "a volume needs exactly one": {"name": "v"},
    "the container names runtime": [{"name": "fetch", "image": "a"}],
    "port 8080 of the pod": 8080,
    "a probe needs exactly one": {"periodSeconds": 2},
    "successThreshold of a liveness": {"tcpSocket": {"port": 9000}, "successThreshold": 2},
    "two ports of a container": [{"name": "web", "containerPort": 9000}, {"name": "web", "containerPort": 9001}],
    "a subPath lies within": "a/../../b",
}  # fmt: skip
# All that the cases below know to be said of a value; the rest of a schema says what it is made of.
LIMITS = {
    "type", "enum", "pattern", "required", "minimum", "maximum", "minLength", "maxLength", "minItems", "maxItems",
    "maxProperties", "x-kubernetes-list-type", RULES,
}  # fmt: skip
STRUCTURE = {
    "description", "default", "properties", "items", "additionalProperties", "format", "x-kubernetes-int-or-string",
    "x-kubernetes-list-map-keys",
}  # fmt: skip
# How far beyond a bound the next value is.
BOUNDS = {
    "minimum": -1, "maximum": 1, "minLength": -1, "maxLength": 1, "minItems": -1, "maxItems": 1, "maxProperties": 1,
}  # fmt: skip
# Where another rule of the same field is narrower than the limit, so that nothing at the limit can be valid.
UNREACHABLE = (
    "minLength of spec.artifact.uri",
    "maxLength of spec.artifact.digest",
    "minLength of spec.placement.instanceTypes[0]",
    "maximum of spec.pod.containers[0].livenessProbe.successThreshold",
    "maximum of spec.pod.containers[0].startupProbe.successThreshold",
)


@dataclass(frozen=True)
class LimitCase:
    """A spec at or just beyond one limit; `words` are what both verdicts on one beyond have to say."""

    keyword: str
    steps: Steps
    spec: Node
    words: str = ""

    @property
    def id(self) -> str:
        return f"{self.keyword} of {dotted(self.steps)}"

    @property
    def body(self) -> Node:
        metadata = {"name": "case", "namespace": "default"}
        return {
            "apiVersion": "neuron-serving.dev/v1alpha1",
            "kind": "NeuronModel",
            "metadata": metadata,
            "spec": copy.deepcopy(self.spec),
        }


@cache
def spec_schema() -> Node:
    document = yaml.safe_load(CRD.read_text(encoding="utf-8"))
    schema: Node = document["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]
    return schema


def places(schema: Node | None = None, steps: Steps = ()) -> Iterator[tuple[Steps, Node]]:
    """Every field, item and map value of the spec."""
    schema = schema if schema is not None else spec_schema()
    yield steps, schema
    for step, child in children_of(schema, steps):
        yield from places(child, (*steps, step))


def children_of(schema: Node, steps: Steps) -> Iterator[tuple[str | int, Node]]:
    yield from schema.get("properties", {}).items()
    if "items" in schema:
        yield 0, schema["items"]
    if "additionalProperties" in schema:
        yield MAP_KEYS.get(name_of(steps), "team"), schema["additionalProperties"]


def dotted(steps: Steps) -> str:
    return "spec" + "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)


def name_of(steps: Steps) -> str:
    """The field's own name; that of the list or map for its items."""
    return next((step for step in reversed(steps) if isinstance(step, str)), "")


def sample(schema: Node, steps: Steps) -> Any:
    """The least that is valid there."""
    if schema.get("type") == "array":
        return [sample(schema["items"], (*steps, 0))]
    if schema.get("type") != "object":
        return next(iter(schema["enum"]), None) if "enum" in schema else SAMPLES.get(name_of(steps), "1")
    if name_of(steps) == "tolerations":
        return {"key": "k", "effect": "NoExecute"}
    properties = schema.get("properties", {})
    chosen = [group[0] for group in NEEDED if group[0] in properties]
    return {name: sample(properties[name], (*steps, name)) for name in (*schema.get("required", ()), *chosen)}


def spec_with(steps: Steps, value: Any) -> Node:
    """A spec that is valid but for what `value` may be wrong with, at that place."""
    if not steps:
        return dict(value)
    spec: Node = _put(spec_schema(), copy.deepcopy(BASE), steps, value, ())
    # Two fields have to name what another one holds.
    if steps == ("service", "targetPort") and isinstance(value, str):
        port = {"name": value, "containerPort": 9000}
        spec["pod"]["containers"] = [{"name": "app", "image": "example.com/app:1", "ports": [port]}]
    if steps[-3:] == ("volumeMounts", 0, "name"):
        spec["pod"]["volumes"] = [{"name": value, "emptyDir": {}}]
    return spec


def _put(schema: Node, present: Any, steps: Steps, value: Any, above: Steps) -> Any:
    if not steps:
        return value
    step, rest = steps[0], steps[1:]
    here = (*above, step)
    if isinstance(step, int):
        return [_put(schema["items"], sample(schema["items"], here), rest, value, here)]
    child = schema.get("properties", {}).get(step) or schema["additionalProperties"]
    rivals = {name for group in RIVALS if step in group for name in group if name != step}
    kept = {name: found for name, found in (present or {}).items() if name not in rivals}
    return kept | {step: _put(child, kept.get(step, sample(child, here)) if rest else None, rest, value, here)}


def of_length(length: int, steps: Steps) -> str:
    names = [step for step in steps if isinstance(step, str)]
    start, end = SHAPES.get(".".join(names[-2:])) or SHAPES.get(names[-1], ("", ""))
    filling = "1" if name_of(steps[:-1]) in ("requests", "limits") or name_of(steps) == "sizeLimit" else "a"
    return start + filling * (length - len(start) - len(end)) + end if length >= len(start + end) else filling * length


def items(count: int, schema: Node, steps: Steps) -> list[Any]:
    """So many different ones."""
    made = []
    for number in range(count):
        item = sample(schema["items"], (*steps, 0))
        if schema["x-kubernetes-list-type"] == "set":
            item = f"inf2.x{number}"
        elif isinstance(item, dict):
            varied = {"name": f"v{number}", "containerPort": 9000 + number, "mountPath": f"/m{number}"}
            keys = schema.get("x-kubernetes-list-map-keys", ())
            item |= {key: varied[key] for key in keys if key in varied}
        made.append(item)
    return made


def entries(count: int, steps: Steps) -> Node:
    """So many in a map."""
    is_of_resources = name_of(steps) in MAP_KEYS
    return dict.fromkeys(HOST_RESOURCES[:count] if is_of_resources else [f"k{i}" for i in range(count)], "1")


def _beyond(steps: Steps, schema: Node) -> Iterator[tuple[str, Any]]:
    """Each limit and a value that goes beyond it."""
    kind = schema.get("type")
    yield "type", WRONG_TYPES[kind] if kind else True
    if kind == "integer":
        yield "type", 1.5
    if schema.get("x-kubernetes-list-type") in ("set", "map"):
        yield "unique", items(1, schema, steps) * 2
    if "enum" in schema:
        yield "enum", "nonsense"
    if "pattern" in schema:
        yield "pattern", OUT_OF_SHAPE
    for keyword, further in BOUNDS.items():
        if keyword in schema:
            yield keyword, _at(keyword, schema[keyword] + further, schema, steps)


def _within(steps: Steps, schema: Node) -> Iterator[tuple[str, Any]]:
    """Each limit and a value that just fits."""
    for word in schema.get("enum", ()):
        yield "enum", word
    for keyword in BOUNDS:
        if keyword in schema and f"{keyword} of {dotted(steps)}" not in UNREACHABLE:
            yield keyword, _at(keyword, schema[keyword], schema, steps)


def _at(keyword: str, bound: int, schema: Node, steps: Steps) -> Any:
    if keyword in ("minLength", "maxLength"):
        return of_length(bound, steps)
    if keyword in ("minItems", "maxItems"):
        return items(bound, schema, steps)
    return entries(bound, steps) if keyword == "maxProperties" else bound


def _without_required(steps: Steps, schema: Node) -> Iterator[LimitCase]:
    for name in schema.get("required", ()):
        value = sample(schema, steps) if steps else BASE
        lacking = {key: found for key, found in value.items() if key != name}
        yield LimitCase("required", (*steps, name), spec_with(steps, lacking), dotted((*steps, name)))


def _breaking_rules(steps: Steps, schema: Node) -> Iterator[LimitCase]:
    for rule in schema.get(RULES, ()):
        known = [value for start, value in BREAKERS.items() if rule["message"].startswith(start)]
        assert len(known) == 1, f"no value, or more than one, is known to break {rule['message']!r}"
        yield LimitCase("rule", steps, spec_with(steps, known[0]), rule["message"])


def beyond() -> Iterator[LimitCase]:
    """What must be refused, with the field or the rule's message in the verdict."""
    for steps, schema in places():
        if steps:
            for keyword, value in _beyond(steps, schema):
                yield LimitCase(keyword, steps, spec_with(steps, value), dotted(steps))
        yield from _without_required(steps, schema)
        yield from _breaking_rules(steps, schema)


def within() -> Iterator[LimitCase]:
    """What must be accepted."""
    for steps, schema in places():
        for keyword, value in _within(steps, schema):
            yield LimitCase(keyword, steps, spec_with(steps, value))
