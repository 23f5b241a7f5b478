"""Programs and model folders for `pack`, and what becomes of them."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from tokenizers import Tokenizer
from tokenizers.models import WordLevel

from neuron_runtime import packing
from neuron_runtime.artifacts import load_bundle
from neuron_runtime.bundle import Manifest
from runtime_builders import traced


class FixedShape(torch.nn.Module):
    """Takes one shape, as a Neuron program does: viewing any other fails."""

    def __init__(self, shape: Sequence[int]) -> None:
        super().__init__()
        self.shape = tuple(shape)

    def forward(self, values: torch.Tensor) -> torch.Tensor:
        return values.reshape(-1).view(self.shape) * 2


def fixed(folder: Path, *shape: int) -> str:
    path = folder / f"{'x'.join(map(str, shape))}.pt"
    traced(FixedShape(shape), [torch.zeros(shape)], path)
    return str(path)


def hugging_face(folder: Path, **files: dict[str, Any] | list[dict[str, Any]]) -> str:
    """A model folder; `config` becomes config.json and so on."""
    model = folder / "model"
    (model / "1_Pooling").mkdir(parents=True)
    tokenizer = Tokenizer(WordLevel({"[PAD]": 3, "word": 1}, unk_token="word"))
    tokenizer.add_special_tokens(["[PAD]"])
    tokenizer.save(str(model / "tokenizer.json"))
    for name, content in files.items():
        path = model / "1_Pooling" / "config.json" if name == "pooling" else model / f"{name}.json"
        path.write_text(json.dumps(content))
    return str(model)


def pack(folder: Path, *arguments: str) -> Manifest:
    assert packing.run([*arguments, "-o", str(folder / "out")]) == 0
    return load_bundle(folder / "out").manifest


def refusal(folder: Path, capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert packing.run([*arguments, "-o", str(folder / "out")]) == 1
    assert not (folder / "out" / "model.json").exists()
    return capsys.readouterr().err
