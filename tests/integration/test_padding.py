"""Padding never leaks: a request's answer is the same alone, in company and in any bucket.

The batcher, the padding, the programs (on the CPU engine) and the cutting are the real ones; only the process between
them is left out. Promised bit by bit in the same bucket at the same row; within TOLERANCE elsewhere, where the CPU's
kernels may add up in another order.
"""

import asyncio
import random
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from prometheus_client import CollectorRegistry

from neuron_runtime.admission import Admission
from neuron_runtime.batcher import Batcher, BatchLimits
from neuron_runtime.buckets import cut_rows, pad_batch
from neuron_runtime.bundle import Bucket, TensorSpec
from neuron_runtime.engines.torchscript import TorchScriptEngine
from neuron_runtime.messages import Program, Start
from neuron_runtime.metrics import Metrics
from neuron_runtime.served_model import ServedModel
from neuron_runtime.tensors import Array
from runtime_builders import traced

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

TOLERANCE = 1e-5
WIDTH, WORDS, PAD = 16, 40, 3
SHAPES = ((1, 8), (4, 8), (2, 16), (8, 16), (4, 32))
"""A sparse grid: (batch, sequence) of each compiled program."""


class Attention(torch.nn.Module):
    """Every position looks at every other: whatever is in the padding would show if the mask did not hide it."""

    def __init__(self) -> None:
        super().__init__()
        self.words = torch.nn.Embedding(WORDS, WIDTH)
        self.mix = torch.nn.Linear(WIDTH, WIDTH)

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        values = self.words(ids)
        scores = self.mix(values) @ values.transpose(1, 2)
        weights = torch.softmax(scores.masked_fill(mask.unsqueeze(1) == 0, -1e9), dim=-1)
        hidden = weights @ values
        total = (hidden * mask.unsqueeze(-1)).sum(dim=1)
        return hidden, total


MODEL = ServedModel(
    name="attention",
    version="1",
    task="Tensor",
    platform="pytorch_torchscript",
    inputs=tuple(TensorSpec(name=name, datatype="INT64", shape=(-1, -1)) for name in ("ids", "mask")),
    outputs=(
        TensorSpec(name="hidden", datatype="FP32", shape=(-1, -1, WIDTH)),
        TensorSpec(name="total", datatype="FP32", shape=(-1, WIDTH)),
    ),
    buckets=tuple(Bucket(file=f"{b}x{s}.pt", shapes={"ids": (b, s), "mask": (b, s)}) for b, s in SHAPES),
    pad_values={"ids": PAD},
)


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> TorchScriptEngine:
    folder = tmp_path_factory.mktemp("programs")
    torch.manual_seed(1)
    module = Attention()
    for bucket in MODEL.buckets:
        ones = torch.ones(bucket.shapes["ids"], dtype=torch.int64)
        traced(module, [ones, ones], folder / bucket.file)
    return loaded(folder)


def loaded(folder: Path) -> TorchScriptEngine:
    programs = [Program(bucket.file, list(bucket.shapes.values())) for bucket in MODEL.buckets]
    start = Start("cpu", str(folder), ["INT64"] * 2, ["FP32"] * 2, programs, [PAD, 0], in_flight=1)
    engine = TorchScriptEngine(start)
    engine.load()
    return engine


class CoreInProcess:
    """A worker without its process: pads, runs and cuts as one does, in its own turn of the loop."""

    def __init__(self, engine: TorchScriptEngine) -> None:
        self.engine = engine
        self.batcher: Batcher | None = None
        self.used: list[tuple[int, int]] = []

    def submit(self, batch: int, bucket: int, parts: int, arrays: Sequence[Array]) -> None:
        pieces = [arrays[first : first + 2] for first in range(0, len(arrays), 2)]
        rows = sum(len(piece[0]) for piece in pieces)
        self.used.append((bucket, rows))
        padded = pad_batch(pieces, list(MODEL.buckets[bucket].shapes.values()), [PAD, 0])
        outputs = cut_rows(self.engine.run(bucket, padded), 0, rows)
        assert self.batcher is not None
        asyncio.get_running_loop().call_soon(self.batcher.on_result, batch, outputs, 0.001)


class Fleet:
    def ready_count(self) -> int:
        return 1

    def usable_count(self) -> int:
        return 1


async def answers(
    engine: TorchScriptEngine, requests: Sequence[list[Array]], seconds: Sequence[float]
) -> list[list[Array]]:
    """The answers to requests that arrive in one turn, on one core whose buckets take `seconds`."""
    core = CoreInProcess(engine)
    core.batcher = Batcher(MODEL, Fleet(), Metrics(CollectorRegistry()), BatchLimits(in_flight=1))
    core.batcher.on_room(core, seconds)
    admission = Admission(10_000, 1000, lambda: 0.001)

    async def ask(inputs: list[Array]) -> list[Array]:
        assert core.batcher is not None
        with admission.admit(len(inputs[0])) as permit:
            return (await core.batcher.infer(inputs, permit, time.monotonic() + 60)).outputs

    return list(await asyncio.gather(*map(ask, requests)))


def request(chance: random.Random, most_rows: int = 3) -> list[Array]:
    rows, length = chance.randint(1, most_rows), chance.randint(1, 32)
    ids = np.array([[chance.randrange(WORDS) for _ in range(length)] for _ in range(rows)], dtype=np.int64)
    mask = np.ones((rows, length), dtype=np.int64)
    for row in mask:
        row[chance.randint(1, length) :] = 0
    return [ids, mask]


def close(one: list[Array], other: list[Array]) -> bool:
    return all(a.shape == b.shape and np.allclose(a, b, atol=TOLERANCE) for a, b in zip(one, other, strict=True))


@pytest.mark.parametrize("seed", range(12))
async def test_an_answer_is_the_same_alone_and_in_any_company(engine: TorchScriptEngine, seed: int) -> None:
    chance = random.Random(seed)
    requests = [request(chance) for _ in range(chance.randint(2, 20))]
    # Other service times make the policy choose other buckets for the same requests.
    seconds = [chance.uniform(0.001, 0.01) for _ in SHAPES]
    together = await answers(engine, requests, seconds)

    for asked, answer in zip(requests, together, strict=True):
        (alone,) = await answers(engine, [asked], [0.001] * len(SHAPES))
        assert answer[0].shape == (*asked[0].shape, WIDTH), "padding is cut off again"
        assert close(answer, alone)


@pytest.mark.parametrize("bucket", range(len(SHAPES)), ids=[f"{batch}x{length}" for batch, length in SHAPES])
def test_neighbors_in_the_same_bucket_change_not_one_bit(engine: TorchScriptEngine, bucket: int) -> None:
    chance = random.Random(bucket)
    batch, length = SHAPES[bucket]
    shapes = list(MODEL.buckets[bucket].shapes.values())
    row = [chance_ids(chance, 1, length - 2), np.ones((1, length - 2), dtype=np.int64)]
    alone = engine.run(bucket, pad_batch([row], shapes, [PAD, 0]))

    for _ in range(10):
        neighbors = [chance_ids(chance, batch, length), np.ones((batch, length), dtype=np.int64)]
        parts = [row, [array[1:] for array in neighbors]] if batch > 1 else [row]
        in_company = engine.run(bucket, pad_batch(parts, shapes, [PAD, 0]))
        assert all(np.array_equal(one[0], other[0]) for one, other in zip(alone, in_company, strict=True))


def chance_ids(chance: random.Random, rows: int, length: int) -> Array:
    return np.array([[chance.randrange(WORDS) for _ in range(length)] for _ in range(rows)], dtype=np.int64)


@pytest.mark.parametrize("rows", [9, 17, 40])
async def test_rows_beyond_a_batch_are_split_and_joined_in_order(engine: TorchScriptEngine, rows: int) -> None:
    chance = random.Random(rows)
    ids = chance_ids(chance, rows, 12)
    mask = np.ones_like(ids)
    (joined,) = await answers(engine, [[ids, mask]], [0.001, 0.002, 0.001, 0.002, 0.004])

    for row in range(rows):
        (alone,) = await answers(engine, [[ids[row : row + 1], mask[row : row + 1]]], [0.001] * len(SHAPES))
        assert close([output[row : row + 1] for output in joined], alone)


@pytest.mark.parametrize("neighbor", ["nan", "inf"])
def test_a_neighbor_full_of_nan_stays_in_its_row(neighbor: str, tmp_path: Path) -> None:
    """Row by row programs: what one client sends must not become another's NaN."""
    traced(torch.nn.Linear(3, 2), [torch.ones((4, 3))], tmp_path / "linear.pt")
    engine = TorchScriptEngine(
        Start("cpu", str(tmp_path), ["FP32"], ["FP32"], [Program("linear.pt", [(4, 3)])], [0], in_flight=1)
    )
    engine.load()
    good, bad = np.ones((1, 3), dtype=np.float32), np.full((1, 3), float(neighbor), dtype=np.float32)
    together = engine.run(0, pad_batch([[good], [bad]], [(4, 3)], [0]))[0]
    alone = engine.run(0, pad_batch([[good]], [(4, 3)], [0]))[0]

    assert np.array_equal(together[0], alone[0])
