"""What is sent to whom: one whole HTTP/1.1 request, built once, for each API that can be put under load.

Called by `command` and by benchmarks of other servers. The builders may ask the server what its model is called and
takes; they block, so call them before the load.
"""

import socket
from collections.abc import Mapping
from dataclasses import dataclass
from http.client import HTTPException, HTTPResponse
from urllib.parse import quote, urlsplit

import httpx
import orjson

from neuron_runtime.benchmarking.payloads import Json, PayloadError, infer_payload

ASK_SECONDS = 10.0
_JSON = {"content-type": "application/json"}
_SHOWN_BYTES = 300


class TargetError(Exception):
    """The server cannot be put under load: what, where, what to do next."""


@dataclass(frozen=True)
class Target:
    """A server and the request it gets, over and over."""

    host: str
    port: int
    request: bytes

    @property
    def title(self) -> str:
        """Method, address and path."""
        method, path, _ = self.request.split(b" ", 2)
        return f"{method.decode()} http://{authority(self.host, self.port)}{path.decode()}"


def authority(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def raw_target(url: str, method: str, path: str, headers: Mapping[str, str], body: bytes) -> Target:
    """Any request whose answer says its own length; `path` is below the path of `url`."""
    parts = urlsplit(url)
    try:
        host, port = parts.hostname, parts.port or 80
    except ValueError:
        host, port = None, 0
    if parts.scheme != "http" or not host:
        raise TargetError(
            f"{url!r} is not http://HOST:PORT. bench speaks plain HTTP: name the pod or the Service, not what ends TLS "
            "in front of it."
        )
    if method not in ("GET", "POST"):
        raise TargetError(f"bench sends GET and POST, not {method}.")
    fields = {"host": authority(host, port), "content-length": str(len(body)), **headers}
    lines = [f"{method} {parts.path.rstrip('/')}{path or '/'} HTTP/1.1", *(f"{k}: {v}" for k, v in fields.items())]
    return Target(host, port, "\r\n".join([*lines, "", ""]).encode("latin-1") + body)


def body_target(url: str, path: str, document: Json | bytes) -> Target:
    """A POST of JSON, given as a document or as its bytes."""
    return raw_target(url, "POST", path, _JSON, document if isinstance(document, bytes) else orjson.dumps(document))


def predict_target(url: str, text: str) -> Target:
    return body_target(url, "/predict", {"text": text})


def embeddings_target(url: str, text: str, model: str | None = None) -> Target:
    """`model` None: the first that GET /v1/models names."""
    return body_target(url, "/v1/embeddings", {"model": model or served_model(url), "input": text})


def infer_target(url: str, model: str | None = None, *, rows: int = 1, free_size: int = 16) -> Target:
    """Tensors of ones in the shapes of the model's metadata; `free_size` fills every open dimension but the first."""
    model = model or served_model(url)
    metadata = _ask(url, f"/v2/models/{quote(model, safe='')}")
    try:
        payload = infer_payload(metadata, rows=rows, free_size=free_size)
    except PayloadError as error:
        raise TargetError(
            f"{url}: no request can be made for model '{model}': {error}. Give one with --body-file."
        ) from None
    return body_target(url, infer_path(model), payload)


def infer_path(model: str) -> str:
    return f"/v2/models/{quote(model, safe='')}/infer"


def served_model(url: str) -> str:
    """The first model of the server's OpenAI list."""
    try:
        return str(_ask(url, "/v1/models")["data"][0]["id"])
    except (TargetError, LookupError, TypeError):
        raise TargetError(f"{url} does not say which models it serves at /v1/models. Name one with --model.") from None


def check(target: Target) -> None:
    """Send the request once; TargetError unless the answer is 2xx."""
    try:
        with socket.create_connection((target.host, target.port), ASK_SECONDS) as connected:
            connected.sendall(target.request)
            response = HTTPResponse(connected)
            response.begin()
            body = response.read(_SHOWN_BYTES)
    except (OSError, HTTPException) as error:
        raise TargetError(
            f"{target.title} was not answered: {error or type(error).__name__}. "
            "Is the server running, and the address right?"
        ) from None
    if not 200 <= response.status < 300:
        told = body.decode(errors="replace").strip()
        raise TargetError(f"{target.title} was answered {response.status}: {told}")


def _ask(url: str, path: str) -> Json:
    try:
        response = httpx.get(f"{url.rstrip('/')}{path}", timeout=ASK_SECONDS, trust_env=False)
        document = orjson.loads(response.raise_for_status().content)
    except (httpx.HTTPError, httpx.InvalidURL, orjson.JSONDecodeError) as error:
        raise TargetError(f"GET {url.rstrip('/')}{path} did not tell what the model takes: {error}") from None
    return document if isinstance(document, dict) else {}
