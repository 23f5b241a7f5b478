"""The three ways to send an image to /predict, and what is told to who sends it otherwise."""

from typing import Any

import httpx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from image_files import as_base64, file_of, plain
from neuron_runtime.errors import InvalidRequestError
from neuron_runtime.wire.images import ImagesCall, parse_images

CAT, DOG = (file_of(plain(2, 2, color)) for color in ((255, 0, 0), (0, 255, 0)))
FORM = b"multipart/form-data; boundary=x"


def parsed(body: bytes, content_type: bytes = b"application/json") -> ImagesCall:
    return parse_images(body, {b"content-type": content_type})


def sent(**request: Any) -> ImagesCall:
    """As a real client writes it."""
    made = httpx.Request("POST", "http://server/predict", **request)
    return parsed(made.read(), made.headers["content-type"].encode())


def files_of(call: ImagesCall) -> list[tuple[str, bytes]]:
    return [(image.field, image.file()) for image in call.images]


def test_a_form_holds_one_image_or_several() -> None:
    one = sent(files={"image": ("cat.png", CAT, "image/png")}, data={"scores": "true"})
    several = sent(files=[("image", ("cat.png", CAT)), ("image", ("dog.png", DOG))])

    assert (files_of(one), one.as_list, one.with_scores) == ([("image", CAT)], False, True)
    assert (files_of(several), several.as_list) == ([("image[0]", CAT), ("image[1]", DOG)], True)
    assert not several.with_scores


def test_the_body_itself_may_be_the_image() -> None:
    call = parsed(CAT, b"image/png")

    assert (files_of(call), call.as_list) == ([("body", CAT)], False)


@pytest.mark.parametrize("prefix", ["", "data:image/png;base64,"])
def test_json_holds_base64_alone_or_in_a_list(prefix: str) -> None:
    one = sent(json={"image": prefix + as_base64(CAT), "scores": True})
    several = sent(json={"image": [prefix + as_base64(CAT), as_base64(DOG)]})

    assert (files_of(one), one.as_list, one.with_scores) == ([("image", CAT)], False, True)
    assert (files_of(several), several.as_list) == ([("image[0]", CAT), ("image[1]", DOG)], True)


PART = b'--x\r\nContent-Disposition: form-data; name="image"\r\n\r\nCAT\r\n'


@pytest.mark.parametrize(
    ("body", "content_type", "field", "told"),
    [
        pytest.param(b"{}", b"application/json", "image", "field 'image' is missing", id="no image"),
        pytest.param(b'{"image": 4}', b"", "image", "must be a base64 text or a list", id="a number"),
        pytest.param(b'{"image": "a", "scores": 1}', b"", "scores", "true or false, not a number", id="scores"),
        pytest.param(b'{"image": "a", "x": 1}', b"", "x", "unknown field 'x'", id="unknown field"),
        pytest.param(CAT, b"application/x-www-form-urlencoded", None, "neither a form, nor an image", id="curl -d"),
        pytest.param(CAT, b"", None, "no content type", id="no content type"),
        pytest.param(b"", b"image/png", None, "the body is empty", id="empty file"),
        pytest.param(PART, b"multipart/form-data", "Content-Type", "names no boundary", id="no boundary"),
        pytest.param(PART, FORM, None, "ends before its closing boundary", id="truncated form"),
        pytest.param(b"CAT", FORM, None, "the form cannot be read", id="no form"),
        pytest.param(b"--x--\r\n", FORM, "image", "form field 'image' is missing", id="empty form"),
        pytest.param(
            PART.replace(b"image", b"file") + b"--x--\r\n", FORM, "file", "unknown form field 'file'", id="other field"
        ),
        pytest.param(
            PART + PART.replace(b"image", b"scores") + b"--x--",
            FORM,
            "scores",
            "must be true or false",
            id="bad scores",
        ),
    ],
)
def test_what_holds_no_image_is_refused(body: bytes, content_type: bytes, field: str | None, told: str) -> None:
    with pytest.raises(InvalidRequestError) as caught:
        parsed(body, content_type)
    assert told in caught.value.message
    assert caught.value.field == field


@pytest.mark.parametrize("text", ["cat!", "Y2F0\nY2F0", "Y2F", "ä"])
def test_text_that_is_not_base64_names_its_place(text: str) -> None:
    call = sent(json={"image": [as_base64(CAT), text]})

    with pytest.raises(InvalidRequestError, match=r"'image\[1\]' is not base64"):
        call.images[1].file()


@settings(max_examples=300, deadline=None)
@given(body=st.binary(max_size=300) | st.builds(lambda tail: PART + tail, st.binary(max_size=60)))
def test_no_form_raises_anything_else(body: bytes) -> None:
    try:
        call = parsed(body, FORM)
    except InvalidRequestError:
        return
    assert call.images
