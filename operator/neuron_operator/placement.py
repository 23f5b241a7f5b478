"""Decides which instance types may run a model, which are preferred, and by which scheduler. Pure.

`choose_placement` is called by the reconcile and by `explain`; its answer is a Placement to render, or a Rejection
whose reason and message become the object's status. It knows nothing about the nodes a cluster has.
"""

from dataclasses import dataclass
from typing import Any

from neuron_operator.api.conditions import Reason
from neuron_operator.api.v1alpha1 import NeuronModelSpec
from neuron_operator.settings import Settings


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
    raise NotImplementedError
