"""The pod template: fetch, runtime and the user's own containers. Pure; its caller freezes it in a ControllerRevision."""

from typing import Any

from neuron_operator.api.v1alpha1 import NeuronModel
from neuron_operator.placement import Placement
from neuron_operator.settings import Settings


def pod_template(model: NeuronModel, placement: Placement, settings: Settings) -> dict[str, Any]:
    """The template of the Deployment: metadata (labels, annotations) and spec."""
    raise NotImplementedError
