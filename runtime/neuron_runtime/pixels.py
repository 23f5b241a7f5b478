"""The arithmetic from a decoded image to a model's input: sizes, the crop, values by channel, layout. Pure.

`images` decodes and resizes with Pillow in between. Sizes and the crop are those of torchvision and of Hugging Face's
image processors, so that a model sees here what it saw in training.
"""

import numpy as np

from neuron_runtime.bundle import Datatype, ImageSpec
from neuron_runtime.tensors import DTYPES, Array

Pair = tuple[int, int]


def resized_size(spec: ImageSpec, size: Pair) -> Pair:
    """(height, width) that an image of `size` gets before it is cropped."""
    if spec.resize is None:
        return size
    if isinstance(spec.resize, tuple):
        return spec.resize
    shorter, longer = min(size), max(size)
    other = int(spec.resize * longer / shorter)
    return (spec.resize, other) if size[0] <= size[1] else (other, spec.resize)


def crop_box(crop: Pair, size: Pair) -> tuple[int, int, int, int]:
    """Left, top, right and bottom of the center; beyond the image where that is smaller."""
    top, left = ((have - want) // 2 for have, want in zip(size, crop, strict=True))
    return left, top, left + crop[1], top + crop[0]


def channel_tables(spec: ImageSpec, datatype: Datatype) -> Array:
    """[channels, 256]: what each of a pixel's 256 values is for the model, in the input's own datatype."""
    values = np.arange(256) * spec.scale
    tables = (values - np.array(spec.mean)[:, None]) / np.array(spec.std)[:, None]
    if datatype == "BF16":
        return _bfloat16_bits(tables.astype(np.float32))
    typed: Array = (np.rint(tables) if datatype == "UINT8" else tables).astype(DTYPES[datatype])
    return typed


def fill_row(row: Array, pixels: Array, tables: Array, spec: ImageSpec) -> None:
    """Writes an image's pixels (uint8 [height, width, channels], channels as RGB or L) into a row of the input."""
    for channel, table in enumerate(tables):
        source = pixels[:, :, len(tables) - 1 - channel if spec.color == "BGR" else channel]
        target = row[channel] if spec.layout == "NCHW" else row[:, :, channel]
        target[...] = table[source]


def _bfloat16_bits(values: Array) -> Array:
    """The upper halves of FP32, rounded to nearest, ties to even: numpy has no bfloat16."""
    bits = values.view(np.uint32)
    rounded: Array = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    return rounded
