"""`neuron-runtime fetch`: a model bundle from an address to a directory, verified, whole or not there at all."""

from neuron_runtime.fetching.command import run

__all__ = ["run"]
