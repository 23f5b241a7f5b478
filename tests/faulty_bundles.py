"""Bundles whose programs misbehave: they crash natively, need too much memory, or are not what model.json says.

Each doubles rows of 3 numbers like `runtime_builders.tensor_bundle` until its input or its size makes the difference.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import torch

from neuron_runtime.artifacts import describe_file
from neuron_runtime.bundle import Manifest
from runtime_builders import tensor_bundle, traced

DEADLY = -(2**63)
FLOATS_PER_MEGABYTE = 2**18


class Crasher(torch.nn.Module):
    """x86 traps when the most negative integer is divided by minus one, and torch does not catch it: SIGFPE."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * 2 + torch.fmod(values, torch.full_like(values, -1))


class Hungry(torch.nn.Module):
    """Takes as many megabytes as the largest of its inputs says."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        count = (values.max() * FLOATS_PER_MEGABYTE).to(torch.int64).reshape(1)
        return values * 2 + torch.repeat_interleave(torch.ones(1), count).sum() * 0


class Heavy(torch.nn.Module):
    """Has weights of so many megabytes."""

    def __init__(self, megabytes: int) -> None:
        super().__init__()
        self.register_buffer("weights", torch.zeros(megabytes * FLOATS_PER_MEGABYTE))

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        weights: torch.Tensor = self.get_buffer("weights")
        return values * 2 + weights[0]


class DoublePrecision(torch.nn.Module):
    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.double() * 2


class Transposed(torch.nn.Module):
    """Its batch is not the first dimension of what it returns."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return (values * 2).t()


def bundle_of(folder: Path, module: torch.nn.Module, datatype: str = "FP32") -> Path:
    """One bucket of 4 rows; model.json says FP32 in and out, or `datatype`."""
    bundle = tensor_bundle(folder, batch_sizes=(4,))
    kind = {"FP32": torch.float32, "INT64": torch.int64}[datatype]
    traced(module, [torch.ones((4, 3), dtype=kind)], bundle / "b4.pt")
    document = json.loads((bundle / "model.json").read_text())
    tensors = {part: [tensor | {"datatype": datatype} for tensor in document[part]] for part in ("inputs", "outputs")}
    return repacked(bundle, tensors)


def repacked(bundle: Path, changes: Mapping[str, object]) -> Path:
    """The same bundle with other words in its manifest, and whatever its files are now."""
    path = bundle / "model.json"
    document = json.loads(path.read_text()) | dict(changes)
    listed = [describe_file(bundle, file["path"]).model_dump(by_alias=True) for file in document["files"]]
    manifest = Manifest.model_validate(document | {"files": listed})
    path.write_text(manifest.model_dump_json(by_alias=True, exclude_none=True))
    return bundle
