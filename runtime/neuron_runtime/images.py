"""Image files to a model's input, with Pillow, as the bundle says. The front process calls it, off the event loop.

What a client sends is not trusted: few formats, a limit on pixels that is checked before anything is decoded, and every
way in which a file can be broken is the client's error, naming the field.
"""

import io
import struct
import warnings
import zlib

import numpy as np
from PIL import ExifTags, Image, UnidentifiedImageError

from neuron_runtime.bundle import ImageSpec, TensorSpec
from neuron_runtime.errors import InvalidRequestError, TooLargeError
from neuron_runtime.pixels import channel_tables, crop_box, fill_row, resized_size
from neuron_runtime.tensors import DTYPES, Array

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP")
"""Of an animation the first picture is taken. Formats that run other programs or are rarely fuzzed stay out."""
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error, IndexError, KeyError, TypeError)
"""What Pillow's decoders raise for files that are not what they say."""
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
"""What brings an image upright, by its EXIF orientation."""


class ImageEncoder:
    """Thread-safe: nothing changes after construction, and Pillow releases the GIL while it decodes and resizes."""

    def __init__(self, spec: ImageSpec, tensor: TensorSpec, max_pixels: int) -> None:
        self._spec = spec
        self._dtype = DTYPES[tensor.datatype]
        self._tables = channel_tables(spec, tensor.datatype)
        self._max_pixels = max_pixels
        self._resample = Image.Resampling[spec.resample.upper()]
        # Pillow refuses twice this by itself, also for pictures inside a file that are larger than the file declares.
        Image.MAX_IMAGE_PIXELS = max_pixels
        # Its warnings are about the client's files, which are either decoded or refused here.
        warnings.filterwarnings("ignore", module=r"PIL\.")

    def encode(self, file: bytes, field: str) -> Array:
        """One row of the model's input, [1, …]; InvalidRequestError or TooLargeError names the field."""
        try:
            image = self._prepared(file, field)
        except Image.DecompressionBombError:
            raise self._too_large(field, "far too many") from None
        except UnidentifiedImageError:
            raise InvalidRequestError(
                f"'{field}' is no image this server knows; it takes {', '.join(FORMATS)}", field
            ) from None
        except _BROKEN as error:
            raise InvalidRequestError(
                f"'{field}' is not an image this server can decode: {error or type(error).__name__}", field
            ) from None
        row = np.empty((1, *self._spec.row_shape), dtype=self._dtype)
        pixels = np.asarray(image)
        fill_row(row[0], pixels[:, :, None] if pixels.ndim == 2 else pixels, self._tables, self._spec)
        return row

    def _prepared(self, file: bytes, field: str) -> Image.Image:
        """Decoded, upright, in color, resized and cropped."""
        image = Image.open(io.BytesIO(file), formats=FORMATS)
        if image.width * image.height > self._max_pixels:
            raise self._too_large(field, f"{image.width} x {image.height}")
        image.load()
        colored = _colored(_upright(image), "L" if self._spec.color == "L" else "RGB")
        size = (colored.height, colored.width)
        height, width = resized_size(self._spec, size)
        if height * width > self._max_pixels:
            raise InvalidRequestError(
                f"'{field}' is too long and narrow: {size[1]} x {size[0]} pixels would be resized to "
                f"{width} x {height}",
                field,
            )
        if (height, width) != size:
            colored = colored.resize((width, height), self._resample)
        return colored if self._spec.crop is None else colored.crop(crop_box(self._spec.crop, (height, width)))

    def _too_large(self, field: str, size: str) -> TooLargeError:
        return TooLargeError(
            f"'{field}' has {size} pixels, at most {self._max_pixels} are decoded; send a smaller image", field
        )


def _upright(image: Image.Image) -> Image.Image:
    """Cameras save what the sensor saw, and in EXIF how the camera was held. Without legible EXIF it stays as it is."""
    try:
        turn = _TURNS.get(image.getexif().get(ExifTags.Base.Orientation, 1))
    except _BROKEN:
        return image
    return image if turn is None else image.transpose(turn)


def _colored(image: Image.Image, mode: str) -> Image.Image:
    """RGB or L. An alpha channel is dropped, as in training pipelines; 16-bit gray is brought to 8 bits."""
    if image.mode.startswith("I;16"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    return image if image.mode == mode else image.convert(mode)
