"""Deployment, Service and PodDisruptionBudget around a pod template. Pure."""

from typing import Any

from neuron_operator.api.v1alpha1 import NeuronModel


def owner_reference(model: NeuronModel) -> dict[str, Any]:
    """The controller reference of every child: deleted with the model, and never before it in the foreground."""
    raise NotImplementedError


def desired_children(model: NeuronModel, template: dict[str, Any]) -> tuple[dict[str, Any], ...]:
    """Deployment, Service and disruption budget, whole, as server-side apply takes them."""
    raise NotImplementedError
