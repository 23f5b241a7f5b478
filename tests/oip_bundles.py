"""Bundles for the Open Inference Protocol's tests: small programs whose tensors are of every datatype.

torch is imported here, as in runtime_builders: import this module late.
"""

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from neuron_runtime.bundle import Bucket, BundleFile, Manifest, TensorSpec
from runtime_builders import traced

TORCH_TYPES = {
    "BOOL": torch.bool,
    "INT8": torch.int8,
    "INT16": torch.int16,
    "INT32": torch.int32,
    "INT64": torch.int64,
    "UINT8": torch.uint8,
    "UINT16": torch.uint16,
    "UINT32": torch.uint32,
    "UINT64": torch.uint64,
    "FP16": torch.float16,
    "BF16": torch.bfloat16,
    "FP32": torch.float32,
    "FP64": torch.float64,
}
COLUMNS = 3


class DoubledFloats(torch.nn.Module):
    """Every input given back: fractions doubled, the others as they came."""

    def forward(self, *tensors: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return tuple(tensor + tensor if tensor.is_floating_point() else tensor.clone() for tensor in tensors)


def datatypes_bundle(folder: Path, name: str, datatypes: Sequence[str], batch_sizes: Sequence[int] = (1, 4)) -> Path:
    """Inputs in_bool, in_int8 … and outputs out_bool, out_int8 … of these datatypes, rows of 3."""
    folder.mkdir(parents=True, exist_ok=True)
    files, buckets = [], []
    for batch in batch_sizes:
        path = folder / f"b{batch}.pt"
        ones = [torch.ones((batch, COLUMNS), dtype=TORCH_TYPES[datatype]) for datatype in datatypes]
        traced(DoubledFloats(), ones, path)
        content = path.read_bytes()
        files.append(BundleFile(path=path.name, sha256=hashlib.sha256(content).hexdigest(), bytes=len(content)))
        shapes = {f"in_{datatype.lower()}": (batch, COLUMNS) for datatype in datatypes}
        buckets.append(Bucket(file=path.name, shapes=shapes))
    manifest = Manifest(
        name=name,
        task="Tensor",
        inputs=tuple(_spec("in", datatype) for datatype in datatypes),
        outputs=tuple(_spec("out", datatype) for datatype in datatypes),
        buckets=tuple(buckets),
        target="cpu",
        files=tuple(files),
    )
    (folder / "model.json").write_text(manifest.model_dump_json(by_alias=True, exclude_none=True))
    return folder


def _spec(direction: str, datatype: str) -> TensorSpec:
    return TensorSpec.model_validate(
        {"name": f"{direction}_{datatype.lower()}", "datatype": datatype, "shape": (-1, COLUMNS)}
    )
