"""The CustomResourceDefinition as a dict, made from the API types. Pure.

`python -m neuron_operator crd` and hack/gen_crd.py print it; tests give it to a real API server.
"""

from typing import Any

from neuron_operator import names
from neuron_operator.api.rules import KEY
from neuron_operator.api.structural import structural_schema
from neuron_operator.api.v1alpha1 import NAME_RULE, SPEC_RULES, NeuronModelSpec, NeuronModelStatus

DESCRIPTION = (
    "A compiled model served on AWS Inferentia. The operator makes it a Deployment whose pods ask for NeuronCores, a "
    "Service and a PodDisruptionBudget, and tells in its status whether it serves and, if not, why."
)


def _ready(field: str) -> str:
    return f'.status.conditions[?(@.type=="Ready")].{field}'


def _column(name: str, path: str, description: str, kind: str = "string", priority: int = 0) -> dict[str, Any]:
    column = {"name": name, "type": kind, "jsonPath": path, "description": description}
    return column | ({"priority": priority} if priority else {})


COLUMNS = [
    _column("READY", _ready("status"), "Whether the model serves."),
    _column("REASON", _ready("reason"), "Why, in one word; the runbook has a page for each."),
    _column("CORES", ".spec.neuronCores", "NeuronCores of each replica.", "integer"),
    _column("REPLICAS", ".status.summary", "Ready replicas of the wanted ones."),
    _column("URL", ".status.url", "Where the model answers inside the cluster."),
    _column("AGE", ".metadata.creationTimestamp", "Time since the object was created.", "date"),
    _column("MESSAGE", _ready("message"), "Why, in words, and what to do next.", priority=1),
]


def _without_defaults(schema: dict[str, Any]) -> dict[str, Any]:
    """What nobody wrote into a status is absent from it."""
    out = {key: value for key, value in schema.items() if key != "default"}
    if "properties" in out:
        out["properties"] = {name: _without_defaults(child) for name, child in out["properties"].items()}
    if "items" in out:
        out["items"] = _without_defaults(out["items"])
    return out


def _open_api_schema() -> dict[str, Any]:
    status = _without_defaults(structural_schema(NeuronModelStatus))
    return {
        "type": "object",
        "description": DESCRIPTION,
        "required": ["spec"],
        KEY: [NAME_RULE.wire()],
        "properties": {
            "apiVersion": {"type": "string", "description": f"Always {names.API_VERSION}."},
            "kind": {"type": "string", "description": f"Always {names.KIND}."},
            "metadata": {"type": "object"},
            "spec": structural_schema(NeuronModelSpec)
            | {"description": "What to serve, and where.", KEY: [rule.wire() for rule in SPEC_RULES]},
            # On status itself, so that nothing looks ready before the operator looked at it.
            "status": status | {"description": "What the operator last saw.", "default": {"observedGeneration": -1}},
        },
    }


def custom_resource_definition() -> dict[str, Any]:
    version = {
        "name": names.VERSION,
        "served": True,
        "storage": True,
        "additionalPrinterColumns": COLUMNS,
        "subresources": {
            "status": {},
            "scale": {
                "specReplicasPath": ".spec.replicas",
                "statusReplicasPath": ".status.replicas",
                "labelSelectorPath": ".status.selector",
            },
        },
        "schema": {"openAPIV3Schema": _open_api_schema()},
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": names.CRD_NAME},
        "spec": {
            "group": names.GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": names.KIND,
                "listKind": f"{names.KIND}List",
                "plural": names.PLURAL,
                "singular": names.SINGULAR,
                "shortNames": [names.SHORT_NAME],
                "categories": [names.CATEGORY],
            },
            "versions": [version],
        },
    }
