"""`POST /predict` of an image model: a file in a form, a file as the body, or base64 in JSON. Pure; nothing is decoded.

curl -F image=@cat.jpg          multipart/form-data; several parts named image are several images
curl -H content-type:image/jpeg --data-binary @cat.jpg
{"image": "<base64>"}           or a list of them; a data: URL does as well
"""

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass, field

from python_multipart import MultipartParser
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import parse_options_header

from neuron_runtime.errors import InvalidRequestError
from neuron_runtime.wire.json_body import boolean_of, check_fields, parse_object, texts_of

FIELD = "image"
FIELDS = (FIELD, "scores")
_HOW = (
    "send a form with the file in the field 'image' (multipart/form-data), the file itself with its content type "
    "(image/jpeg, …), or JSON with base64 in 'image'"
)


@dataclass(frozen=True)
class GivenImage:
    """One image of a request: the file, and the field it came in, as the client spelled it. A text is base64."""

    field: str
    content: bytes | str

    def file(self) -> bytes:
        """The file's bytes; InvalidRequestError names the field whose base64 is none."""
        if isinstance(self.content, bytes):
            return self.content
        encoded = self.content.partition(",")[2] if self.content.startswith("data:") else self.content
        try:
            return base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError):
            raise InvalidRequestError(
                f"'{self.field}' is not base64 (RFC 4648, without line breaks)", self.field
            ) from None


@dataclass(frozen=True)
class ImagesCall:
    images: tuple[GivenImage, ...]
    as_list: bool
    with_scores: bool


def parse_images(body: bytes, headers: Mapping[bytes, bytes]) -> ImagesCall:
    """The images of the body, whichever of the three ways they came."""
    kind, options = parse_options_header(headers.get(b"content-type", b""))
    if kind == b"multipart/form-data":
        return _from_form(body, options.get(b"boundary", b""))
    if kind.startswith(b"image/"):
        if not body:
            raise InvalidRequestError(f"the body is empty; {_HOW}")
        return ImagesCall((GivenImage("body", body),), as_list=False, with_scores=False)
    return _from_json(body, kind)


def _from_json(body: bytes, kind: bytes) -> ImagesCall:
    if body.lstrip()[:1] != b"{" and not kind.startswith(b"application/json"):
        told = kind.decode("latin-1") or "no content type"
        raise InvalidRequestError(f"the body ({told}) is neither a form, nor an image, nor JSON; {_HOW}")
    document = parse_object(body)
    check_fields(document, FIELDS)
    texts, as_list = texts_of(document, FIELD, "a base64 text")
    images = tuple(
        GivenImage(f"{FIELD}[{index}]" if as_list else FIELD, content) for index, content in enumerate(texts)
    )
    return ImagesCall(images, as_list, boolean_of(document, "scores"))


@dataclass
class _Form:
    """What the parser's callbacks collect: (name, content) of each part."""

    parts: list[tuple[str, bytes]] = field(default_factory=list)
    name: bytes = b""
    value: bytes = b""
    disposition: bytes = b""
    content: bytearray = field(default_factory=bytearray)

    def begin(self) -> None:
        self.disposition, self.content = b"", bytearray()

    def header_begin(self) -> None:
        self.name = self.value = b""

    def header_field(self, data: bytes, start: int, end: int) -> None:
        self.name += data[start:end]

    def header_value(self, data: bytes, start: int, end: int) -> None:
        self.value += data[start:end]

    def header_end(self) -> None:
        if self.name.lower() == b"content-disposition":
            self.disposition = self.value

    def part_data(self, data: bytes, start: int, end: int) -> None:
        self.content += data[start:end]

    def part_end(self) -> None:
        _, options = parse_options_header(self.disposition)
        self.parts.append((options.get(b"name", b"").decode("utf-8", "replace"), bytes(self.content)))


def _from_form(body: bytes, boundary: bytes) -> ImagesCall:
    parts = _parts(body, boundary)
    for name, _ in parts:
        if name not in FIELDS:
            raise InvalidRequestError(f"unknown form field '{name}'; the fields are {', '.join(FIELDS)}", name)
    files = [content for name, content in parts if name == FIELD]
    if not files:
        raise InvalidRequestError("form field 'image' is missing; give it an image file", FIELD)
    scores = [content for name, content in parts if name == "scores"]
    if scores not in ([], [b"true"], [b"false"]):
        raise InvalidRequestError("form field 'scores' must be true or false, once", "scores")
    as_list = len(files) > 1
    images = tuple(GivenImage(f"{FIELD}[{index}]" if as_list else FIELD, file) for index, file in enumerate(files))
    return ImagesCall(images, as_list, scores == [b"true"])


def _parts(body: bytes, boundary: bytes) -> list[tuple[str, bytes]]:
    if not boundary:
        raise InvalidRequestError("the content type multipart/form-data names no boundary", "Content-Type")
    form, ends = _Form(), list[bool]()
    try:
        parser = MultipartParser(
            boundary,
            {
                "on_part_begin": form.begin,
                "on_header_begin": form.header_begin,
                "on_header_field": form.header_field,
                "on_header_value": form.header_value,
                "on_header_end": form.header_end,
                "on_part_data": form.part_data,
                "on_part_end": form.part_end,
                "on_end": lambda: ends.append(True),
            },
        )
        parser.write(body)
        parser.finalize()
    except FormParserError as error:
        raise InvalidRequestError(f"the form cannot be read: {error}") from None
    if not ends:
        raise InvalidRequestError("the form ends before its closing boundary")
    return form.parts
