"""NeuronModels and settings for tests: valid by default, overrides win."""

from typing import Any

from neuron_operator.api import NeuronModel, NeuronModelSpec
from neuron_operator.placement import Placement, choose_placement
from neuron_operator.settings import Settings

UID = "11111111-2222-3333-4444-555555555555"


def model_body(name: str = "sentiment", namespace: str = "shop", **spec: Any) -> dict[str, Any]:
    """A NeuronModel as the API server would give it, without the defaults."""
    return {
        "apiVersion": "neuron-serving.dev/v1alpha1",
        "kind": "NeuronModel",
        "metadata": {"name": name, "namespace": namespace, "uid": UID, "generation": 1},
        "spec": {"artifact": {"uri": "s3://models/sentiment/3/"}, "neuronCores": 2, **spec},
    }


def model(name: str = "sentiment", **spec: Any) -> NeuronModel:
    return NeuronModel.parse(model_body(name, **spec), strict=True)


def model_spec(**spec: Any) -> NeuronModelSpec:
    return model(**spec).spec


def settings(**given: Any) -> Settings:
    return Settings(**{"runtime_image": "example.com/runtime:1", **given})


def placement_of(found: NeuronModel, **given: Any) -> Placement:
    placement = choose_placement(found.spec, settings(**given))
    assert isinstance(placement, Placement), placement
    return placement
