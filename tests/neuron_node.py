"""An emulated Neuron node for `neuron-runtime serve` as a subprocess: its environment, and a bundle traced for it."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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

# Counts an execution for each line it is sent, as a process that computes does.
NEIGHBOR = """
import sys
from emulated_node.counters import CounterFile, Execution
from emulated_node.node import Node
counters = CounterFile(Node.from_environment(), "ml/doubler-1/doubler/nc1", (1,))
for _ in sys.stdin:
    counters.record(Execution(1, 0.001, 0.001))
    print("executed", flush=True)
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


@contextmanager
def neighbor(state: Path) -> Iterator[Callable[[], None]]:
    """Another pod's process, doubler-1's, on the same chip; calling the value has it execute once."""
    with subprocess.Popen(
        [sys.executable, "-c", NEIGHBOR],
        env=node_environment(state),
        text=True,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as process:

        def execute() -> None:
            assert process.stdin is not None, "started with pipes"
            assert process.stdout is not None, "started with pipes"
            process.stdin.write("\n")
            process.stdin.flush()
            assert process.stdout.readline() == "executed\n"

        try:
            yield execute
        finally:
            process.kill()


def doubler_bundle(folder: Path, state: Path) -> Path:
    """The model `doubler`, of batch sizes 1 and 4, traced in a process of its own on the node of `state`."""
    command = [sys.executable, "-W", "ignore", "-c", TRACE, str(folder)]
    subprocess.run(command, env=node_environment(state), check=True)
    return bundle_of_programs(folder, batch_sizes=(1, 4), target="inf2")
