"""`neuron-runtime bench`: how fast a server answers, and whether the generator or the server was the limit."""

from neuron_runtime.benchmarking.command import run

__all__ = ["run"]
