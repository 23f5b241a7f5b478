"""Traces one model per bucket and packs the programs with neuron-runtime pack. Called by `build` when a source changed.

Kept apart from `build`, which must start without torch: a build that is up to date should take no time.
"""

import importlib
import sys
import tempfile
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from encoder import SentenceEncoder, SentimentClassifier, model_folder
from sentiment import LABELS, train_head

from neuron_runtime import packing

BATCH_SIZES = (1, 4)
SEQUENCE_LENGTH = 128
# Neuron cores are at their best with bfloat16, and the casting compiler stores the weights so: half the bytes.
COMPILER_ARGS = ["--auto-cast", "all", "--auto-cast-type", "bf16"]


def build_bundles(out: Path, target: str) -> int:
    """Writes out/minilm and out/sentiment; the first exit code of `pack` that is not 0."""
    started = time.monotonic()
    folder = model_folder()
    encoder = SentenceEncoder.load(folder)
    head = train_head(encoder, folder / "tokenizer.json")
    _say(
        f"sentiment head: {head.held_out} held-out sentences, {head.accuracy:.1%} right "
        f"(trained on {head.trained_on}, {head.training_accuracy:.1%} of them right)"
    )
    classifier = SentimentClassifier(encoder, head.linear).eval()
    failed = _build(out / "minilm", encoder, target, ["--task", "TextEmbedding"])
    failed = failed or _build(
        out / "sentiment", classifier, target, ["--task", "TextClassification", "--labels", ",".join(LABELS)]
    )
    if not failed:
        _say(f"built in {time.monotonic() - started:.0f} s")
    return failed


def _build(bundle: Path, model: torch.nn.Module, target: str, task: list[str]) -> int:
    _say(f"{bundle.name}: tracing for {target}, batch sizes {BATCH_SIZES}, {SEQUENCE_LENGTH} tokens")
    bundle.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=bundle.parent) as scratch:
        programs = list(trace(model, Path(scratch), target))
        inputs = [f"--input={name}:INT64:-1,{SEQUENCE_LENGTH}" for name in ("input_ids", "attention_mask")]
        # A plain program takes any batch size and is traced once; these are the sizes it is offered in.
        sizes = ["--batch-sizes", ",".join(map(str, BATCH_SIZES))]
        arguments = [*map(str, programs), *inputs, *sizes, *task, "--tokenizer", str(model_folder())]
        return packing.run([*arguments, "-o", str(bundle), "--force"])


def trace(model: torch.nn.Module, folder: Path, target: str) -> Iterator[Path]:
    """One saved program for each batch size; for the cpu one alone, which takes them all."""
    for batch_size in BATCH_SIZES if target == "inf2" else BATCH_SIZES[-1:]:
        example = (torch.ones(batch_size, SEQUENCE_LENGTH, dtype=torch.int64),) * 2
        with warnings.catch_warnings(), torch.inference_mode():
            # transformers looks at sizes while it is traced; ours are fixed, so what it took for constant is constant.
            warnings.filterwarnings("ignore", category=torch.jit.TracerWarning)  # type: ignore[attr-defined]
            warnings.filterwarnings("ignore", message=r"`?torch\.jit\.\w+`? is", category=DeprecationWarning)
            warnings.filterwarnings("ignore", message=r"`is_gradient_checkpointing` is", category=FutureWarning)
            path = folder / f"b{batch_size}.pt"
            _traced(model, example, target).save(str(path))
        yield path


def _traced(model: torch.nn.Module, example: tuple[torch.Tensor, ...], target: str) -> Any:
    if target == "cpu":
        return torch.jit.trace(model, example, check_trace=False)
    return importlib.import_module("torch_neuronx").trace(model, example, compiler_args=COMPILER_ARGS)


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()
