"""What runs programs on a core, behind two verbs. A worker opens exactly one engine; the front process opens none.

`torch_neuronx` (a NeuronCore), `cpu` (TorchScript on the CPU) and `simulated` (a device that only takes time). Each
is imported only when it is asked for: the simulated one needs no torch, and only `neuron` may import torch_neuronx.
"""

import importlib
from collections.abc import Sequence
from typing import Protocol

from neuron_runtime.messages import Start
from neuron_runtime.tensors import Array


class Engine(Protocol):
    def load(self) -> None:
        """Put every bucket's program on the core; raises FatalError, or whatever the library raises."""

    def run(self, bucket: int, inputs: Sequence[Array]) -> list[Array]:
        """One execution with inputs of exactly the bucket's shapes. Called from several threads at once."""


_ENGINES = {
    "simulated": ("neuron_runtime.engines.simulated", "SimulatedEngine"),
    "cpu": ("neuron_runtime.engines.torchscript", "TorchScriptEngine"),
    "torch_neuronx": ("neuron_runtime.engines.neuron", "NeuronEngine"),
}


def open_engine(start: Start) -> Engine:
    """The engine that `start` names; importing its library is part of it."""
    module, name = _ENGINES[start.engine]
    engine: Engine = getattr(importlib.import_module(module), name)(start)
    return engine
