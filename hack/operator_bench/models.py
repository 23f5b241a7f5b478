"""The models that are measured with, and where they are on the API server. Pure."""

from typing import Any

NAMESPACE = "bench"
MODELS = f"/apis/neuron-serving.dev/v1alpha1/namespaces/{NAMESPACE}/neuronmodels"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"
COLLECTIONS = {
    "ControllerRevision": f"/apis/apps/v1/namespaces/{NAMESPACE}/controllerrevisions",
    "Deployment": f"/apis/apps/v1/namespaces/{NAMESPACE}/deployments",
    "Service": f"/api/v1/namespaces/{NAMESPACE}/services",
    "PodDisruptionBudget": f"/apis/policy/v1/namespaces/{NAMESPACE}/poddisruptionbudgets",
}
LABEL_MODEL = "neuron-serving.dev/model"
# One core fits every instance type without a scheduler of its own.
CORES_OF_A_MODEL, CORES_OF_A_NODE = 1, 24


def names(count: int, prefix: str = "model") -> list[str]:
    return [f"{prefix}-{number}" for number in range(count)]


def model(name: str) -> dict[str, Any]:
    """What a user would write: little, so that most comes from the defaults."""
    return {
        "apiVersion": "neuron-serving.dev/v1alpha1",
        "kind": "NeuronModel",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"artifact": {"uri": f"s3://models/{name}/1/"}, "neuronCores": CORES_OF_A_MODEL, "replicas": 1},
    }


def nodes_for(models: int) -> int:
    """No more than needed, and one: what the operator reads of nodes it reads of each."""
    return -(-models * CORES_OF_A_MODEL // CORES_OF_A_NODE) + 1


def is_served(body: dict[str, Any]) -> bool:
    """Whether the model's status says that the newest spec serves."""
    ready = condition(body)
    return ready.get("status") == "True" and ready.get("observedGeneration") == body["metadata"]["generation"]


def condition(body: dict[str, Any]) -> dict[str, Any]:
    """Ready; empty while there is none."""
    found = (c for c in body.get("status", {}).get("conditions", ()) if c["type"] == "Ready")
    return next(found, {})
