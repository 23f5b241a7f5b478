"""The NeuronModel API: types, conditions, validation rules and the CRD made from them. Pure."""

from neuron_operator.api.v1alpha1 import NeuronModel, NeuronModelSpec, NeuronModelStatus

__all__ = ["NeuronModel", "NeuronModelSpec", "NeuronModelStatus"]
