"""A stand-in for torch_neuronx 2.9 on machines without Neuron silicon: same calls, run by the CPU.

Programs are traced, saved and loaded as with the real package, on emulated NeuronCores that are owned by processes
as the driver's are. docs/fidelity.md says what is imitated, from which source, and what is not.
"""

from torch_neuronx.parallel import DataParallel
from torch_neuronx.placement import (
    move_trace_to_device,
    multicore_context,
    neuron_cores_context,
    set_multicore,
    set_neuron_cores,
)
from torch_neuronx.tracing import async_load, dynamic_batch, lazy_load, trace

__version__ = "2.9.0.2.15.32035+emulator"
__all__ = [
    "DataParallel",
    "async_load",
    "dynamic_batch",
    "lazy_load",
    "move_trace_to_device",
    "multicore_context",
    "neuron_cores_context",
    "set_multicore",
    "set_neuron_cores",
    "trace",
]
