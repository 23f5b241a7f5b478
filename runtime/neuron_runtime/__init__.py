"""The data plane: loads a compiled model on its NeuronCores, batches requests and serves them over HTTP."""

__version__ = "0.1.0"
