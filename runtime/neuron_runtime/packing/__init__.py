"""`neuron-runtime pack`: a model bundle from bare TorchScript files, written only after every program was tried."""

from neuron_runtime.packing.command import run

__all__ = ["run"]
