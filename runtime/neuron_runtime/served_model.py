"""What this process serves, whatever the engine: name, task, tensors, compiled buckets and how text becomes tensors.

Made once at start from a bundle's manifest (or by the simulated engine, which needs none) and read by the routes,
the batcher and the workers. Pure: it opens no file.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from neuron_runtime.bundle import (
    Bucket,
    ClassificationSpec,
    EmbeddingSpec,
    ImageSpec,
    Manifest,
    Task,
    TensorSpec,
    TextSpec,
)
from neuron_runtime.tensors import DTYPES
from neuron_runtime.termination import FatalError, Reason

PLATFORMS = {
    "torch_neuronx": "pytorch_torchscript_neuron",
    "cpu": "pytorch_torchscript",
    "simulated": "simulated_neuron",
}


@dataclass(frozen=True)
class ServedModel:
    name: str
    version: str
    task: Task
    platform: str
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]
    buckets: tuple[Bucket, ...]
    text: TextSpec | None = None
    classification: ClassificationSpec | None = None
    embedding: EmbeddingSpec | None = None
    image: ImageSpec | None = None
    pad_values: Mapping[str, int] = field(default_factory=dict)
    """What fills a variable dimension of an input up to the bucket's size; 0 for inputs not named."""

    @property
    def kind(self) -> str:
        """Its task in a sentence."""
        return f"{'an' if self.task.startswith('I') else 'a'} {self.task} model"

    @property
    def largest_batch_size(self) -> int:
        return max(bucket.batch_size for bucket in self.buckets)

    @property
    def largest_row_bytes(self) -> int:
        """What one row's inputs take in the bucket with the largest rows."""
        sizes = {spec.name: DTYPES[spec.datatype].itemsize for spec in self.inputs}
        return max(
            sum(sizes[name] * math.prod(shape[1:]) for name, shape in bucket.shapes.items()) for bucket in self.buckets
        )


def from_manifest(manifest: Manifest, engine: str, served_name: str | None, max_batch_size: int | None) -> ServedModel:
    """The bundle as it is served; FatalError when the settings leave no bucket to serve with."""
    buckets = tuple(b for b in manifest.buckets if max_batch_size is None or b.batch_size <= max_batch_size)
    if not buckets:
        smallest = min(bucket.batch_size for bucket in manifest.buckets)
        raise FatalError(
            Reason.INVALID_CONFIGURATION,
            f"max batch size is {max_batch_size}, but the smallest compiled batch of {manifest.name} is {smallest}",
            hint=f"set the maximum batch size to {smallest} or more, or compile the model for smaller batches",
        )
    return ServedModel(
        name=served_name or manifest.name,
        version=manifest.version,
        task=manifest.task,
        platform=PLATFORMS[engine],
        inputs=manifest.inputs,
        outputs=manifest.outputs,
        buckets=buckets,
        text=manifest.text,
        classification=manifest.classification,
        embedding=manifest.embedding,
        image=manifest.image,
        pad_values={"input_ids": manifest.text.pad_id} if manifest.text else {},
    )
