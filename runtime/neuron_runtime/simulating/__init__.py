"""`neuron-runtime simulate-batching`: what the batch policy would do with a trace of arrivals, without any device."""

from neuron_runtime.simulating.command import run

__all__ = ["run"]
