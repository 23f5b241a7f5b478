"""Image files to inputs: from any format and mode, and no file may do harm.

That the values are those of Hugging Face's processors, integration/test_image_reference.py shows.
"""

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import ExifTags, Image, ImageOps

from image_files import file_of, noise, plain
from neuron_runtime.bundle import ImageSpec, TensorSpec
from neuron_runtime.errors import InvalidRequestError, TooLargeError
from neuron_runtime.images import FORMATS, ImageEncoder
from neuron_runtime.pixels import crop_box, resized_size
from neuron_runtime.tensors import Array, as_float32

LIMIT = 400_000
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
RED, GREEN = (255, 0, 0), (0, 255, 0)


def encoder(datatype: str = "FP32", max_pixels: int = LIMIT, **spec: Any) -> ImageEncoder:
    image = ImageSpec.model_validate({"resize": [4, 6], **spec})
    tensor = TensorSpec.model_validate({"name": "pixels", "datatype": datatype, "shape": [-1, *image.row_shape]})
    return ImageEncoder(image, tensor, max_pixels)


def encoded(file: bytes, **spec: Any) -> Array:
    return encoder(**spec).encode(file, "image")


@given(height=st.integers(1, 5000), width=st.integers(1, 5000), edge=st.integers(1, 1000))
def test_the_shorter_edge_gets_its_length_and_the_crop_lies_in_the_middle(height: int, width: int, edge: int) -> None:
    spec = ImageSpec(resize=edge, crop=(edge, edge))
    new = resized_size(spec, (height, width))
    left, top, right, bottom = crop_box((edge, edge), new)

    assert min(new) == edge
    assert abs(max(new) - edge * max(height, width) / min(height, width)) < 1
    assert (right - left, bottom - top) == (edge, edge)
    assert 0 <= (new[1] - right) - left <= 1
    assert 0 <= (new[0] - bottom) - top <= 1


def test_channels_and_layout_are_the_bundle_s() -> None:
    red = file_of(plain(4, 6, RED))
    identity = {"scale": 1}

    assert encoded(red, **identity)[0, :, 0, 0].tolist() == [255, 0, 0]
    assert encoded(red, color="BGR", **identity)[0, :, 0, 0].tolist() == [0, 0, 255]
    assert encoded(red, layout="NHWC", **identity)[0, 0, 0].tolist() == [255, 0, 0]
    gray = encoded(red, color="L", mean=[0], std=[1], **identity)
    assert (gray.shape, gray[0, 0, 0, 0]) == ((1, 1, 4, 6), 76)


@pytest.mark.parametrize(("datatype", "dtype"), [("FP32", "f4"), ("FP16", "f2"), ("BF16", "u2"), ("UINT8", "u1")])
def test_values_have_the_datatype_of_the_program(datatype: str, dtype: str) -> None:
    pixels = noise(4, 6)
    row = encoded(file_of(pixels), datatype=datatype, layout="NHWC", scale=1)

    assert row.dtype == np.dtype(dtype)
    np.testing.assert_array_equal(as_float32(row, datatype)[0], pixels)


def test_bfloat16_is_rounded_to_the_nearest() -> None:
    pixels = noise(4, 6)
    exact = encoded(file_of(pixels), mean=MEAN, std=STD)
    rounded = as_float32(encoded(file_of(pixels), mean=MEAN, std=STD, datatype="BF16"), "BF16")

    assert np.abs(rounded - exact).max() <= np.abs(exact).max() * 2**-8


@pytest.mark.parametrize("kind", FORMATS)
def test_every_format_named_is_taken(kind: str) -> None:
    found = encoded(file_of(plain(4, 6, RED), kind), scale=1)

    np.testing.assert_allclose(found[0, :, 0, 0], RED, atol=4)


@pytest.mark.parametrize(
    ("mode", "color"),
    [
        ("L", (76, 76, 76)),
        ("1", (0, 0, 0)),
        ("LA", (76, 76, 76)),
        ("P", RED),
        ("RGBA", RED),
    ],
)
def test_every_mode_of_a_png_becomes_rgb(mode: str, color: tuple[int, int, int]) -> None:
    file = file_of(plain(8, 8, RED), "PNG", mode)

    found = encoded(file, resize=[8, 8], scale=1)[0, :, 3:5, 3:5].mean(axis=(1, 2))
    if mode != "1":  # dithered: only that it is decoded counts
        np.testing.assert_allclose(found, color, atol=1)


def test_cmyk_from_a_print_shop_becomes_rgb() -> None:
    found = encoded(file_of(plain(8, 8, RED), "JPEG", "CMYK", quality=100), scale=1)

    np.testing.assert_allclose(found[0, :, 0, 0], RED, atol=6)


def test_a_transparent_palette_and_16_bit_gray_keep_their_values() -> None:
    palette = file_of(plain(4, 6, RED), "PNG", "P", transparency=b"\x00\x80")
    deep = io.BytesIO()
    Image.fromarray(np.full((4, 6), 128 << 8, dtype=np.uint16)).save(deep, "PNG")

    assert encoded(palette, scale=1)[0, :, 0, 0].tolist() == [255, 0, 0]
    assert encoded(deep.getvalue(), scale=1)[0, :, 0, 0].tolist() == [128, 128, 128]


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_camera_was_held(orientation: int) -> None:
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    file = file_of(noise(6, 8), "PNG", exif=exif)
    upright = np.asarray(ImageOps.exif_transpose(Image.open(io.BytesIO(file))))

    found = encoded(file, resize=upright.shape[:2], scale=1, layout="NHWC")

    np.testing.assert_array_equal(found[0], upright)


def test_exif_that_makes_no_sense_is_ignored() -> None:
    file = file_of(plain(4, 6, RED), "JPEG", exif=b"Exif\x00\x00MM\x00*\x00\x00\x00\x08\xff\xffgarbage")

    assert encoded(file, scale=1).shape == (1, 3, 4, 6)


def test_of_an_animation_the_first_picture_is_taken() -> None:
    first, second = (Image.fromarray(plain(4, 6, color)) for color in (GREEN, RED))
    saved = io.BytesIO()
    first.save(saved, "GIF", save_all=True, append_images=[second])

    assert encoded(saved.getvalue(), scale=1)[0, :, 0, 0].tolist() == list(GREEN)


def declared_png(width: int, height: int) -> bytes:
    """A PNG that only says how large it is."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [
        struct.pack(">I", len(content)) + name + content + struct.pack(">I", zlib.crc32(name + content))
        for name, content in ((b"IHDR", header), (b"IDAT", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunks)


@pytest.mark.parametrize("size", [(1000, 401), (1000, 800), (60_000, 60_000)], ids=str)
def test_a_picture_of_too_many_pixels_is_refused_by_its_header(size: tuple[int, int]) -> None:
    with pytest.raises(TooLargeError, match=r"'image\[1\]' has .* pixels, at most 400000 are decoded") as caught:
        encoder().encode(declared_png(*size), "image[1]")
    assert caught.value.field == "image[1]"


def test_a_picture_of_the_limit_is_decoded() -> None:
    assert encoded(file_of(plain(400, 1000, RED)), scale=1).shape == (1, 3, 4, 6)


def test_a_thread_of_a_picture_is_not_blown_up_in_proportion() -> None:
    with pytest.raises(InvalidRequestError, match="too long and narrow: 1 x 2000 pixels would be resized to 224 x"):
        encoded(file_of(plain(2000, 1, RED)), resize=224, crop=[224, 224])


@pytest.mark.parametrize(
    "file",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"GIF89a", id="only a signature"),
        pytest.param(declared_png(4, 6), id="a header and nothing more"),
        pytest.param(file_of(noise(40, 60))[:-400], id="truncated PNG"),
        pytest.param(file_of(noise(40, 60), "JPEG")[:600], id="truncated JPEG"),
        pytest.param(file_of(noise(4, 6), "TIFF"), id="a format that is not taken"),
        pytest.param(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 4 6\n", id="a program"),
    ],
)
def test_a_file_that_cannot_be_decoded_is_the_client_s_error(file: bytes) -> None:
    with pytest.raises(InvalidRequestError, match=r"'image' (is not an|is no) image this server") as caught:
        encoded(file)
    assert (caught.value.status, caught.value.field) == (400, "image")


SAMPLES = [file_of(noise(9, 7), kind) for kind in FORMATS]


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_no_damage_to_a_file_raises_anything_else(data: st.DataObject) -> None:
    file = bytearray(data.draw(st.sampled_from(SAMPLES)))
    for _ in range(data.draw(st.integers(1, 8))):
        file[data.draw(st.integers(0, len(file) - 1))] = data.draw(st.integers(0, 255))
    kept = data.draw(st.integers(len(file) // 2, len(file)))
    told = ""
    try:
        row = encoder().encode(bytes(file[:kept]), "image")
    except (InvalidRequestError, TooLargeError) as error:
        told = error.field or "nothing"
    else:
        assert row.shape == (1, 3, 4, 6)
    assert told in ("", "image")
