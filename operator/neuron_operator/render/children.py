"""Deployment, Service and PodDisruptionBudget around a pod template. Pure."""

from typing import Any, Literal

from neuron_operator import names
from neuron_operator.api.v1alpha1 import NeuronModel

# Old ReplicaSets are no rollback source: the ControllerRevisions are.
REVISION_HISTORY_LIMIT = 2


def owner_reference(model: NeuronModel) -> dict[str, Any]:
    """The controller reference of every child: deleted with the model, and before it in the foreground."""
    return {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        "name": model.name,
        "uid": model.metadata.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def desired_children(
    model: NeuronModel, template: dict[str, Any], strategy: Literal["Surge", "InPlace"] | None = None
) -> tuple[dict[str, Any], ...]:
    """Deployment, Service and disruption budget, whole, as server-side apply takes them; without a strategy as they
    are where nothing is replaced yet."""
    return _deployment(model, template, strategy), _service(model), _disruption_budget(model)


def _deployment(model: NeuronModel, template: dict[str, Any], strategy: str | None) -> dict[str, Any]:
    rollout = model.spec.rollout
    # Explicit both ways: a default of 25 % rounds to a surge that can wait for cores forever.
    in_place = {"maxSurge": 0, "maxUnavailable": rollout.max_unavailable}
    numbers = {"maxSurge": 1, "maxUnavailable": 0} if (strategy or rollout.mode) == "Surge" else in_place
    spec = {
        "replicas": model.spec.desired_replicas,
        "selector": {"matchLabels": names.selector(model.name)},
        "revisionHistoryLimit": REVISION_HISTORY_LIMIT,
        "progressDeadlineSeconds": rollout.progress_deadline_seconds,
        "strategy": {"type": "RollingUpdate", "rollingUpdate": numbers},
        "template": template,
    }
    return _child(model, "apps/v1", "Deployment", spec)


def _service(model: NeuronModel) -> dict[str, Any]:
    target = model.spec.service.target_port or names.PORT_NAME
    port = {
        "name": names.PORT_NAME,
        "port": names.SERVICE_PORT,
        "protocol": "TCP",
        "targetPort": int(target) if target.isdigit() else target,
    }
    return _child(
        model, "v1", "Service", {"type": "ClusterIP", "selector": names.selector(model.name), "ports": [port]}
    )


def _disruption_budget(model: NeuronModel) -> dict[str, Any]:
    """One pod at a time, but never a drain that waits for a pod which isn't serving anyway."""
    spec = {
        "maxUnavailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": names.selector(model.name)},
    }
    return _child(model, "policy/v1", "PodDisruptionBudget", spec)


def _child(model: NeuronModel, api_version: str, kind: str, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": api_version,
        "kind": kind,
        "metadata": {
            "name": model.name,
            "namespace": model.namespace,
            "labels": names.child_labels(model.name),
            "ownerReferences": [owner_reference(model)],
        },
        "spec": spec,
    }
