"""Trains the sentiment head: a logistic regression on the frozen encoder's layers, in seconds, from sentiment.csv.

One sentence in five is held out and only used for the accuracy that `build` prints. Seeds are fixed: the same file
gives the same head.
"""

import csv
import random
from dataclasses import dataclass
from pathlib import Path

import torch
from encoder import SentenceEncoder
from tokenizers import Tokenizer

LABELS = ("negative", "positive")
SENTENCES = Path(__file__).with_name("sentiment.csv")
_HELD_OUT_EVERY = 5
_WEIGHT_DECAY = 1e-2
_SPREAD = 4.0  # length of a typical scaled vector; with the decay it decides how sure the head gets
_STEPS = 300


@dataclass(frozen=True)
class TrainedHead:
    linear: torch.nn.Linear
    trained_on: int
    held_out: int
    accuracy: float
    training_accuracy: float


def train_head(encoder: SentenceEncoder, tokenizer: Path) -> TrainedHead:
    texts, labels = _read(SENTENCES)
    vectors = features(encoder, tokenizer, texts)
    order = list(range(len(texts)))
    random.Random(7).shuffle(order)  # noqa: S311 - a split, not a secret
    held_out = torch.tensor(order[::_HELD_OUT_EVERY])
    training = torch.tensor([index for place, index in enumerate(order) if place % _HELD_OUT_EVERY])
    linear = _fit(vectors[training], labels[training])
    return TrainedHead(
        linear,
        len(training),
        len(held_out),
        _accuracy(linear, vectors[held_out], labels[held_out]),
        _accuracy(linear, vectors[training], labels[training]),
    )


def features(encoder: SentenceEncoder, tokenizer: Path, texts: list[str]) -> torch.Tensor:
    encode = Tokenizer.from_file(str(tokenizer))
    encode.no_truncation()
    encode.enable_padding()
    vectors = []
    with torch.inference_mode():
        for start in range(0, len(texts), 32):
            batch = encode.encode_batch(texts[start : start + 32])
            ids = torch.tensor([encoding.ids for encoding in batch])
            mask = torch.tensor([encoding.attention_mask for encoding in batch])
            vectors.append(encoder.layer_means(ids, mask))
    return torch.cat(vectors).clone()


def _read(path: Path) -> tuple[list[str], torch.Tensor]:
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return [row["text"] for row in rows], torch.tensor([LABELS.index(row["label"]) for row in rows])


def _fit(vectors: torch.Tensor, labels: torch.Tensor) -> torch.nn.Linear:
    mean, scale = vectors.mean(dim=0), vectors.std(dim=0) * vectors.shape[1] ** 0.5 / _SPREAD
    scaled = (vectors - mean) / scale
    torch.manual_seed(0)
    linear = torch.nn.Linear(vectors.shape[1], len(LABELS))
    optimizer = torch.optim.LBFGS(linear.parameters(), max_iter=_STEPS, line_search_fn="strong_wolfe")

    def loss() -> torch.Tensor:
        optimizer.zero_grad()
        value = torch.nn.functional.cross_entropy(linear(scaled), labels)
        value = value + _WEIGHT_DECAY * linear.weight.square().sum()
        value.backward()
        return value

    optimizer.step(loss)
    # The scaling becomes part of the weights: the traced head takes the encoder's values as they are.
    linear.requires_grad_(requires_grad=False)
    linear.weight.div_(scale)
    linear.bias.sub_(linear.weight @ mean)
    return linear


def _accuracy(linear: torch.nn.Linear, vectors: torch.Tensor, labels: torch.Tensor) -> float:
    return float((linear(vectors).argmax(dim=1) == labels).float().mean())
