"""Which NeuronCores a program is on (AWS: "PyTorch NeuronX NeuronCore Placement APIs").

Core numbers here are 0-based among the cores of this process, whatever their numbers on the node are; -1 leaves the
choice to the runtime.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from torch_neuronx.operators import model_of, placement_request
from torch_neuronx.runtime import runtime


def set_neuron_cores(trace: torch.jit.ScriptModule, start_nc: int = -1, nc_count: int = -1) -> None:
    """Unload the program and load it on these cores; with several, executions take turns."""
    model_of(trace).move(start_nc, nc_count)


def set_multicore(trace: torch.jit.ScriptModule) -> None:
    model_of(trace).move(0, len(runtime().cores))


def move_trace_to_device(trace: torch.jit.ScriptModule, device_id: int) -> None:
    model_of(trace).move(device_id, 1)


@contextmanager
def neuron_cores_context(start_nc: int = -1, nc_count: int = -1) -> Iterator[None]:
    """Loads inside it go to these cores."""
    placement_request.append((start_nc, nc_count))
    try:
        yield
    finally:
        placement_request.pop()


@contextmanager
def multicore_context() -> Iterator[None]:
    with neuron_cores_context(0, len(runtime().cores)):
        yield
