"""Small real bundles for the runtime's tests: TorchScript programs of a few weights, a tokenizer of a few words.

torch is imported here and nowhere else in the unit tests that do not need it: import this module late.
"""

import hashlib
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace

from neuron_runtime.bundle import (
    Bucket,
    BundleFile,
    ClassificationSpec,
    EmbeddingSpec,
    ImageSpec,
    Manifest,
    TensorSpec,
    TextSpec,
)

WORDS = ("[PAD]", "[UNK]", "good", "bad", "fine", "awful", "day", "night", "crash", "hang")
WIDTH = 8
LABELS = ("negative", "positive")
torch.manual_seed(0)


class Encoder(torch.nn.Module):
    """Token vectors and nothing else: position by position, so that padding cannot matter."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(len(WORDS), WIDTH)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        hidden: torch.Tensor = self.words(input_ids)
        return hidden


class Classifier(torch.nn.Module):
    """positive when the text has more of `good` and `fine` than of `bad` and `awful`."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(len(WORDS), len(LABELS))
        with torch.no_grad():
            self.words.weight.zero_()
            for word in ("good", "fine"):
                self.words.weight[WORDS.index(word), 1] = 2.0
            for word in ("bad", "awful"):
                self.words.weight[WORDS.index(word), 0] = 2.0

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor) -> torch.Tensor:
        scores: torch.Tensor = (self.words(input_ids) * attention_mask.unsqueeze(-1)).sum(dim=1)
        return scores


class Brightness(torch.nn.Module):
    """Scores of an image for red, green and blue: how much there is of each."""

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        return 10 * pixels.mean(dim=(2, 3))


class Doubler(torch.nn.Module):
    """Rows of any numbers, doubled."""

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values * 2


def traced(module: torch.nn.Module, inputs: Sequence[torch.Tensor], path: Path) -> None:
    """Saved as TorchScript. torch 2.9 calls that deprecated; the Neuron release line of 2.9 has nothing else."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=r"`torch\.jit\..*` is deprecated", category=DeprecationWarning)
        # The stubs know neither call's types.
        jit: Any = torch.jit
        jit.save(jit.trace(module.eval(), tuple(inputs)), str(path))


def text_bundle(
    folder: Path, task: str = "TextClassification", shapes: Sequence[tuple[int, int]] = ((1, 8), (4, 8), (4, 16))
) -> Path:
    """A text model with one program for each (batch, sequence)."""
    folder.mkdir(parents=True, exist_ok=True)
    module = Classifier() if task == "TextClassification" else Encoder()
    buckets = []
    for batch, sequence in shapes:
        file = f"b{batch}s{sequence}.pt"
        ids = torch.ones((batch, sequence), dtype=torch.int64)
        traced(module, [ids, ids], folder / file)
        buckets.append(Bucket(file=file, shapes={"input_ids": (batch, sequence), "attention_mask": (batch, sequence)}))
    tokenizer = Tokenizer(WordLevel({word: index for index, word in enumerate(WORDS)}, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.save(str(folder / "tokenizer.json"))
    is_classifier = task == "TextClassification"
    output = TensorSpec(name="logits", datatype="FP32", shape=(-1, len(LABELS)))
    if not is_classifier:
        output = TensorSpec(name="hidden", datatype="FP32", shape=(-1, -1, WIDTH))
    return _write(
        folder,
        {
            "name": "tiny",
            "task": task,
            "inputs": tuple(
                TensorSpec(name=name, datatype="INT64", shape=(-1, -1)) for name in ("input_ids", "attention_mask")
            ),
            "outputs": (output,),
            "buckets": tuple(buckets),
            "text": TextSpec(tokenizer="tokenizer.json"),
            "classification": ClassificationSpec(labels=LABELS) if is_classifier else None,
            "embedding": None if is_classifier else EmbeddingSpec(dimensions=WIDTH, pooling="mean", normalize=True),
        },
    )


def image_bundle(folder: Path, batch_sizes: Sequence[int] = (1, 4)) -> Path:
    """An image model that says which of red, green and blue there is most of, in 8 x 8 pixels cut out of 10 x 10."""
    folder.mkdir(parents=True, exist_ok=True)
    for batch in batch_sizes:
        traced(Brightness(), [torch.ones((batch, 3, 8, 8))], folder / f"b{batch}.pt")
    return _write(
        folder,
        {
            "name": "colors",
            "task": "ImageClassification",
            "inputs": (TensorSpec(name="pixels", datatype="FP32", shape=(-1, 3, 8, 8)),),
            "outputs": (TensorSpec(name="logits", datatype="FP32", shape=(-1, 3)),),
            "buckets": tuple(Bucket(file=f"b{batch}.pt", shapes={"pixels": (batch, 3, 8, 8)}) for batch in batch_sizes),
            "image": ImageSpec(resize=10, crop=(8, 8)),
            "classification": ClassificationSpec(labels=("red", "green", "blue")),
        },
    )


def tensor_bundle(folder: Path, batch_sizes: Sequence[int] = (1, 4)) -> Path:
    """A Tensor model that doubles rows of 3 FP32 values."""
    folder.mkdir(parents=True, exist_ok=True)
    for batch in batch_sizes:
        traced(Doubler(), [torch.ones((batch, 3))], folder / f"b{batch}.pt")
    return bundle_of_programs(folder, batch_sizes)


def bundle_of_programs(folder: Path, batch_sizes: Sequence[int], target: str = "cpu") -> Path:
    """The manifest for programs b<batch>.pt that double rows of 3 FP32 values."""
    return _write(
        folder,
        {
            "name": "doubler",
            "task": "Tensor",
            "inputs": (TensorSpec(name="values", datatype="FP32", shape=(-1, 3)),),
            "outputs": (TensorSpec(name="doubled", datatype="FP32", shape=(-1, 3)),),
            "buckets": tuple(Bucket(file=f"b{batch}.pt", shapes={"values": (batch, 3)}) for batch in batch_sizes),
        },
        target,
    )


def _write(folder: Path, parts: Mapping[str, object], target: str = "cpu") -> Path:
    files = tuple(
        BundleFile(path=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), bytes=path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.name != "model.json"
    )
    manifest = Manifest.model_validate({**parts, "target": target, "files": files})
    (folder / "model.json").write_text(manifest.model_dump_json(by_alias=True, exclude_none=True))
    return folder
