"""The page at /: page.html with the served model filled in, and the headers under which a browser may run it.

Called once at start. The page asks this server and nobody else, which the Content-Security-Policy enforces: it allows,
by their hashes, the one style sheet and the one script of the file.
"""

import base64
import hashlib
import html
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from urllib.parse import quote

from neuron_runtime import __version__
from neuron_runtime.images import FORMATS
from neuron_runtime.served_model import ServedModel
from neuron_runtime.tensors import WITHOUT_JSON_FORM, size_of
from neuron_runtime.wire.json_body import JsonObject, dump

ADDRESS = "http://localhost:8000"
_BODIES = {
    "TextClassification": '{"text": "A text."}',
    "TextEmbedding": '{"input": "A text."}',
    "Tensor": "@request.json",
}
_PLACE = re.compile(r"\{\{(\w+)\}\}")
_STYLE = re.compile(r"<style>(.*?)</style>", re.DOTALL)
_SCRIPT = re.compile(r'<script type="module">(.*?)</script>', re.DOTALL)


@dataclass(frozen=True)
class Page:
    body: str
    headers: Mapping[str, str]


def render(model: ServedModel) -> Page:
    """The page for this model. What the model's bundle says (names above all) is text in it, never markup."""
    template = resources.files("neuron_runtime").joinpath("page.html").read_text(encoding="utf-8")
    places = {"name": html.escape(model.name), "curl": html.escape(_curl(model)), "facts": _inert(_facts(model))}
    return Page(_PLACE.sub(lambda place: places[place[1]], template), _headers(template))


def _headers(template: str) -> Mapping[str, str]:
    policy = {
        "default-src": "'none'",
        "style-src": _hashes(_STYLE, template),
        "script-src": _hashes(_SCRIPT, template),
        "connect-src": "'self'",
        "img-src": "data: blob:",  # the icon, and the preview of a chosen image
        "base-uri": "'none'",
        "form-action": "'none'",
        "frame-ancestors": "'none'",
        "require-trusted-types-for": "'script'",  # the script makes elements and text, and parses no HTML
    }
    return {
        "content-security-policy": "; ".join(f"{key} {value}" for key, value in policy.items()),
        "cache-control": "no-cache",
        "referrer-policy": "no-referrer",
        "x-content-type-options": "nosniff",
    }


def _hashes(element: re.Pattern[str], template: str) -> str:
    """The sources of a policy that allow the inline elements of the template, to the letter."""
    digests = (hashlib.sha256(content.encode()).digest() for content in element.findall(template))
    return " ".join(f"'sha256-{base64.b64encode(digest).decode()}'" for digest in digests)


def _facts(model: ServedModel) -> JsonObject:
    """What the script knows of the model. `example`: the inputs of the smallest request there is, without data."""
    bucket = min(model.buckets, key=lambda bucket: sum(size_of(shape[1:]) for shape in bucket.shapes.values()))
    tensors = (*model.inputs, *model.outputs)
    return {
        "name": model.name,
        "version": model.version,
        "task": model.task,
        "platform": model.platform,
        "runtime": __version__,
        "infer": f"v2/models/{quote(model.name, safe='')}/infer",
        "inputs": [spec.model_dump() for spec in model.inputs],
        "outputs": [spec.model_dump() for spec in model.outputs],
        "example": [
            {"name": spec.name, "shape": (1, *bucket.shapes[spec.name][1:]), "datatype": spec.datatype}
            for spec in model.inputs
        ],
        "hasJson": not any(spec.datatype in WITHOUT_JSON_FORM for spec in tensors),
        "imageTypes": [f"image/{name.lower()}" for name in FORMATS],
    }


def _inert(facts: JsonObject) -> str:
    """JSON that cannot end the script element in which it stands."""
    return dump(facts).decode().replace("<", "\\u003c")


def _curl(model: ServedModel) -> str:
    """A request to this model, for a shell."""
    if model.task == "ImageClassification":
        return f"curl -F image=@picture.jpg {ADDRESS}/predict"
    paths = {"TextEmbedding": "v1/embeddings", "Tensor": f"v2/models/{quote(model.name, safe='')}/infer"}
    url = f"{ADDRESS}/{paths.get(model.task, 'predict')}"
    return f"curl -H 'content-type: application/json' -d {shlex.quote(_BODIES[model.task])} {shlex.quote(url)}"
