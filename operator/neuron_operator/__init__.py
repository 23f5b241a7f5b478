"""The control plane: turns NeuronModel objects into Deployments that ask for NeuronCores."""

__version__ = "0.1.0"
