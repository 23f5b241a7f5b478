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
from neuron_operator.catalog import OFFERED, InstanceType, find, suggestions
from neuron_operator.settings import Settings

DEFAULT_FAMILY = "inf2"
NEURON_TOLERATION = {"key": names.TAINT_NEURON, "operator": "Exists", "effect": "NoSchedule"}
INF1_ANSWER = (
    "Inf1 is not offered: its framework torch_neuron needs Python 3.10 or older and AWS no longer supports it. Compile "
    "the model with torch_neuronx and name Inf2 types, such as inf2.xlarge"
)
EXTENSION_ANSWER = (
    "Install AWS's Neuron scheduler extension and name its scheduler in spec.placement.schedulerName or in the chart's "
    "neuron.schedulerName"
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
    """The instance types that fit `spec.neuronCores`, in order of preference, or why none does."""
    asked = spec.placement.instance_types
    refused = _refused_names(asked)
    if refused:
        return Rejection(Reason.NO_MATCHING_INSTANCE_TYPE, f"{' '.join(refused)} Correct spec.placement.instanceTypes")
    candidates = [instance for name in asked if (instance := find(name))] if asked else _default_candidates()
    cores = spec.neuron_cores
    fitting = [instance for instance in candidates if instance.fits(cores)]
    if not fitting:
        return Rejection(Reason.NO_MATCHING_INSTANCE_TYPE, _nothing_fits(cores, candidates))
    scheduler = spec.placement.scheduler_name or settings.scheduler_name or None
    usable = fitting if scheduler else [instance for instance in fitting if instance.fits_without_extension(cores)]
    if not usable:
        return Rejection(Reason.SCHEDULER_EXTENSION_REQUIRED, _needs_extension(cores, fitting))
    too_small = [instance for instance in candidates if instance not in fitting] if asked else []
    need_extension = [instance for instance in fitting if instance not in usable]
    order = "in the order of spec.placement.instanceTypes" if asked else "the cheapest first"
    reason = [f"{_cores(cores)} a replica {'fits' if cores == 1 else 'fit'} {_listed(usable)}, {order}"]
    if too_small:
        reason.append(f"{_listed(too_small)} can't give {cores}")
    if need_extension:
        reason.append(f"{_listed(need_extension)} would need the Neuron scheduler extension, and no scheduler is named")
    if scheduler:
        reason.append(f"scheduled by {scheduler}")
    return Placement(
        neuron_cores=cores,
        instance_types=tuple(instance.name for instance in usable),
        scheduler_name=scheduler,
        node_affinity=_node_affinity([instance.name for instance in usable]),
        tolerations=(NEURON_TOLERATION, *(toleration.wire() for toleration in spec.placement.tolerations)),
        reason="; ".join(reason),
    )


def _default_candidates() -> list[InstanceType]:
    family = [instance for instance in OFFERED if instance.family == DEFAULT_FAMILY]
    return sorted(family, key=lambda instance: instance.price_usd_per_hour)


def _refused_names(asked: Iterable[str]) -> list[str]:
    refused = []
    for name in asked:
        instance = find(name)
        if instance is None:
            close = suggestions(name) or [instance.name for instance in _default_candidates()]
            refused.append(f"{name} is not an instance type with Neuron devices; did you mean {_joined(close, 'or')}?")
        elif not instance.is_offered:
            refused.append(f"{name}: {INF1_ANSWER}.")
    return refused


def _nothing_fits(cores: int, candidates: Sequence[InstanceType]) -> str:
    has = _joined([f"{instance.name} has {instance.neuron_cores}" for instance in candidates])
    better = [instance for instance in _default_candidates() if instance.fits(cores)]
    answer = f"spec.neuronCores is {cores}, but {has}. Ask for fewer cores or add {_joined(_names(better), 'or')}"
    if any(instance.topology == "torus" and cores <= instance.neuron_cores for instance in candidates):
        answer += "; trn1.32xlarge and trn1n.32xlarge give 1, 2, 8, 16 or 32 cores only"
    return answer


def _needs_extension(cores: int, fitting: Sequence[InstanceType]) -> str:
    whole = sorted({1} | {instance.neuron_cores for instance in fitting})
    return (
        f"{_cores(cores)} are more than one and fewer than all of {_joined(_names(fitting), 'or')}, which only AWS's "
        f"Neuron scheduler extension places on neighboring cores. {EXTENSION_ANSWER}, or ask for "
        f"{_joined([str(count) for count in whole], 'or')} cores"
    )


def _node_affinity(types: Sequence[str]) -> dict[str, Any]:
    """Only these types; among several the first is worth most. Weights go from 100 down and stay above 0."""
    affinity: dict[str, Any] = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [_term(types)]}}
    if len(types) > 1:
        step = 100 // len(types)
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": 100 - step * place, "preference": _term([name])} for place, name in enumerate(types)
        ]
    return affinity


def _term(types: Sequence[str]) -> dict[str, Any]:
    return {"matchExpressions": [{"key": names.LABEL_INSTANCE_TYPE, "operator": "In", "values": list(types)}]}


def _names(instances: Iterable[InstanceType]) -> list[str]:
    return [instance.name for instance in instances]


def _listed(instances: Iterable[InstanceType]) -> str:
    return _joined(_names(instances))


def _joined(words: Sequence[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _cores(count: int) -> str:
    return f"{count} NeuronCore{'' if count == 1 else 's'}"
