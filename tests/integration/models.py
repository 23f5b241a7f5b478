"""NeuronModels for the integration tests, and waiting for the operator's word on them."""

from typing import Any

from integration.api_client import Api, Body, has_reason


def model(name: str = "sentiment", **spec: Any) -> Body:
    return {
        "apiVersion": "neuron-serving.dev/v1alpha1",
        "kind": "NeuronModel",
        "metadata": {"name": name},
        "spec": {"artifact": {"uri": "https://models.example/sentiment/"}, "neuronCores": 2, "replicas": 2, **spec},
    }


def settled(api: Api, body: Body) -> Body:
    """The model once the operator has told its status, which it does after the children."""
    created = api.create("neuronmodels", body)
    return api.wait_for("neuronmodels", created["metadata"]["name"], has_reason("Progressing"))
