"""Decides which instance types may run a model, which are preferred, and by which scheduler. Pure.

`choose_placement` is called by the reconcile and by `explain`; its answer is a Placement to render, or a Rejection
whose reason and message become the object's status. It knows nothing about the nodes a cluster has.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from neuron_operator import names
from neuron_operator.api.conditions import Reason
from neuron_operator.api.v1alpha1 import NeuronModelSpec
from neuron_operator.catalog import find, suggestions
from neuron_operator.demands import cores_in_words, default_candidates, demands_of, joined, listed
from neuron_operator.settings import Settings

NEURON_TOLERATION = {"key": names.TAINT_NEURON, "operator": "Exists", "effect": "NoSchedule"}
INF1_ANSWER = (
    "Inf1 is not offered: its framework torch_neuron needs Python 3.10 or older and AWS no longer supports it. Compile "
    "the model with torch_neuronx and name Inf2 types, such as inf2.xlarge"
)


@dataclass(frozen=True)
class Placement:
    """Where the pods may go. `reason` says in words why these types and this order."""

    neuron_cores: int
    instance_types: tuple[str, ...]
    scheduler_name: str | None
    node_affinity: dict[str, Any]
    tolerations: tuple[dict[str, Any], ...]
    reason: str


@dataclass(frozen=True)
class Rejection:
    """No instance type can run the model as written; time won't change that."""

    reason: Reason
    message: str


def choose_placement(spec: NeuronModelSpec, settings: Settings) -> Placement | Rejection:
    """The instance types that meet every demand of the spec, in order of preference, or why none does."""
    asked = spec.placement.instance_types
    refused = _refused_names(asked)
    if refused:
        return Rejection(Reason.NO_MATCHING_INSTANCE_TYPE, f"{' '.join(refused)} Correct spec.placement.instanceTypes")
    left = [instance for name in asked if (instance := find(name))] if asked else default_candidates()
    scheduler = spec.placement.scheduler_name or settings.scheduler_name or None
    told = []
    for demand in demands_of(spec, scheduler):
        fitting = [instance for instance in left if demand.fits(instance)]
        if not fitting and not demand.is_hope:
            return Rejection(demand.reason, demand.nothing_fits(left))
        if not fitting:
            told.append(demand.nothing_fits(left))
        elif len(fitting) < len(left):
            told.append(demand.left_out([instance for instance in left if instance not in fitting]))
        left = fitting or left
    cores, order = spec.neuron_cores, "in the order of spec.placement.instanceTypes" if asked else "the cheapest first"
    fit = f"{cores_in_words(cores)} a replica {'fits' if cores == 1 else 'fit'} {listed(left)}, {order}"
    types = tuple(instance.name for instance in left)
    return Placement(
        neuron_cores=cores,
        instance_types=types,
        scheduler_name=scheduler,
        node_affinity=_node_affinity(types),
        tolerations=(NEURON_TOLERATION, *(toleration.wire() for toleration in spec.placement.tolerations)),
        reason="; ".join([fit, *told, *([f"scheduled by {scheduler}"] if scheduler else [])]),
    )


def _refused_names(asked: Iterable[str]) -> list[str]:
    refused = []
    for name in asked:
        instance = find(name)
        if instance is None:
            close = suggestions(name) or [instance.name for instance in default_candidates()]
            refused.append(f"{name} is not an instance type with Neuron devices; did you mean {joined(close, 'or')}?")
        elif not instance.is_offered:
            refused.append(f"{name}: {INF1_ANSWER}.")
    return refused


def weights(types: Sequence[str]) -> dict[str, int]:
    """How much each type is preferred: the first one 100, those after it less in equal steps, none below 1.

    Karpenter takes the heaviest as if it were required, and gives it up for the next one when there is none to be had.
    """
    step = 100 // max(1, len(types))
    return {name: 100 - step * place for place, name in enumerate(types)}


def _node_affinity(types: Sequence[str]) -> dict[str, Any]:
    """Only these types; among several the first is worth most."""
    affinity: dict[str, Any] = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_term(types)]}}
    if len(types) > 1:
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": weight, "preference": _term([name])} for name, weight in weights(types).items()
        ]
    return affinity


def _term(types: Sequence[str]) -> dict[str, Any]:
    return {"matchExpressions": [{"key": names.LABEL_INSTANCE_TYPE, "operator": "In", "values": list(types)}]}
