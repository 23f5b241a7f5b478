"""An emulated Neuron node for `neuron-runtime serve` as a subprocess: its environment, and a bundle traced for it."""

import os
import subprocess
import sys
from pathlib import Path

from emulator import BIN, STAND_INS
from runtime_builders import bundle_of_programs

TRACE = """
import sys
import torch, torch_neuronx

class Doubler(torch.nn.Module):
    def forward(self, values):
        return values * 2

for batch in (1, 4):
    program = torch_neuronx.trace(Doubler(), torch.ones((batch, 3)), compiler_args="--target inf2", cpu_backend=True)
    torch.jit.save(program, f"{sys.argv[1]}/b{batch}.pt")
"""


def node_environment(state: Path, **more: str) -> dict[str, str]:
    """PYTHONPATH carries the stand-ins, as the device plugin's Allocate would have it."""
    return {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "PYTHONPATH": str(STAND_INS),
        "NEURON_EMULATOR_STATE": str(state),
        "NEURON_EMULATOR_INSTANCE_TYPE": "inf2.xlarge",
        "POD_NAME": "doubler-0",
        "POD_NAMESPACE": "ml",
        "OMP_NUM_THREADS": "1",
        **more,
    }


def doubler_bundle(folder: Path, state: Path) -> Path:
    """The model `doubler`, of batch sizes 1 and 4, traced in a process of its own on the node of `state`."""
    command = [sys.executable, "-W", "ignore", "-c", TRACE, str(folder)]
    subprocess.run(command, env=node_environment(state), check=True)
    return bundle_of_programs(folder, batch_sizes=(1, 4), target="inf2")
