"""Usage: python -m bench.preparation_process texts BUNDLE SECONDS | images SECONDS. Items per second of CPU time.

In a process of its own, so that only this work is counted, on whatever threads the libraries use for it.
"""

import io
import sys
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from neuron_runtime.artifacts import load_bundle
from neuron_runtime.bundle import ImageSpec, TensorSpec
from neuron_runtime.images import ImageEncoder
from neuron_runtime.tokens import TextEncoder

TEXT = "The update made everything slower, lost half of my files and cost me a whole evening to undo."
BATCH = 8
WIDTH, HEIGHT, CROP = 500, 375, 224


def per_cpu_second(work: Callable[[], int], seconds: float) -> float:
    """`work` returns how many items it did."""
    work()
    items, began, until = 0, time.process_time(), time.monotonic() + seconds
    while time.monotonic() < until:
        items += work()
    return items / (time.process_time() - began)


def texts(bundle: Path) -> Callable[[], int]:
    encoder = TextEncoder.from_bundle(load_bundle(bundle, verify=False))
    return lambda: len(encoder.encode([TEXT] * BATCH).token_counts)


def images() -> Callable[[], int]:
    """A JPEG of the usual size of a photograph in ImageNet, to 224 x 224 as torchvision's transforms do it."""
    spec = ImageSpec(resize=256, crop=(CROP, CROP), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    encoder = ImageEncoder(spec, TensorSpec(name="image", datatype="FP32", shape=(-1, 3, CROP, CROP)), 2**24)
    slope = np.add.outer(np.arange(HEIGHT), np.arange(WIDTH))
    noise = np.random.default_rng(0).integers(0, 40, (HEIGHT, WIDTH, 3))
    file = io.BytesIO()
    Image.fromarray(((slope[:, :, None] + noise) % 256).astype(np.uint8)).save(file, "JPEG", quality=90)
    return lambda: len(encoder.encode(file.getvalue(), "image"))


if __name__ == "__main__":
    kind, *rest = sys.argv[1:]
    print(per_cpu_second(texts(Path(rest[0])) if kind == "texts" else images(), float(rest[-1])))
