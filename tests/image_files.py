"""Small picture files for the tests: of known pixels, in any format and mode, whole or spoiled."""

import base64
import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


def noise(height: int, width: int, seed: int = 0) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def plain(height: int, width: int, color: tuple[int, int, int]) -> Pixels:
    return np.full((height, width, 3), color, dtype=np.uint8)


def file_of(pixels: Pixels, kind: str = "PNG", mode: str = "RGB", **options: Any) -> bytes:
    """The file of an image; `mode` as Pillow names them."""
    saved = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(saved, kind, **options)
    return saved.getvalue()


def as_base64(file: bytes) -> str:
    return base64.b64encode(file).decode()
