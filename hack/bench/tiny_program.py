"""Usage: python -m bench.tiny_program FILE. A TorchScript MLP 16-64-4: a model so small that only servers are measured.

The only module here that imports torch, and so it is a program of its own.
"""

import sys
import warnings
from pathlib import Path
from typing import Any

import torch

INPUT_VALUES, HIDDEN_VALUES, OUTPUT_VALUES = 16, 64, 4


class Mlp(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.hidden = torch.nn.Linear(INPUT_VALUES, HIDDEN_VALUES)
        self.output = torch.nn.Linear(HIDDEN_VALUES, OUTPUT_VALUES)

    def forward(self, rows: torch.Tensor) -> torch.Tensor:
        output: torch.Tensor = self.output(torch.relu(self.hidden(rows)))
        return output


def save(path: Path) -> None:
    torch.manual_seed(0)
    jit: Any = torch.jit  # the stubs do not know its calls' types
    with warnings.catch_warnings():
        # torch 2.9 announces the end of TorchScript; it is what torch_neuronx.trace saves on that release.
        warnings.filterwarnings("ignore", message=r"`torch\.jit\..*` is deprecated", category=DeprecationWarning)
        jit.save(jit.trace(Mlp().eval(), torch.ones((1, INPUT_VALUES))), str(path))


if __name__ == "__main__":
    save(Path(sys.argv[1]))
