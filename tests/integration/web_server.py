"""A TLS web server on the loopback interface that misbehaves as it is told, for tests that fetch from it."""

import datetime
import http.server
import ipaddress
import ssl
import threading
from collections import Counter
from http import HTTPStatus
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

SIGNATURE = "X-Signature=s3cr3t"
REFUSALS = {"private": HTTPStatus.FORBIDDEN, "teapot": HTTPStatus.IM_A_TEAPOT}
REDIRECTS = {
    "moved": "{url}/plain/{name}",
    "downgrade": "http://example.com/{name}",
    "loop": "{url}/loop/{name}",
}


class WebServer:
    """Serves the files below `folder` while it is entered. The first part of a path says how:

    plain/      as they are                      signed/     only with SIGNATURE as the query
    flaky/      503 at first, then as they are   private/    403
    cut/        half of each body, then closes; a Range continues it
    wholly/     the same, but Range is ignored   moved/      redirects to plain/
    downgrade/  redirects to plain http          loop/       redirects to itself
    """

    def __init__(self, folder: Path, certificates: Path) -> None:
        self.folder = folder
        self.authority = certificates / "server.pem"
        self.requests: list[tuple[str, str | None]] = []
        self._seen: Counter[str] = Counter()
        _write_certificate(self.authority)
        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"web": self}))
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.authority)
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()

    def is_first(self, path: str) -> bool:
        self._seen[path] += 1
        return self._seen[path] == 1


class _Handler(http.server.BaseHTTPRequestHandler):
    """One is made for each connection; the state is the WebServer's."""

    web: WebServer

    def do_GET(self) -> None:
        self.web.requests.append((self.path, self.headers.get("Range")))
        parts = urlsplit(self.path)
        manner, _, name = parts.path.lstrip("/").partition("/")
        status = self._refusal(manner, parts.query)
        path = self.web.folder / name
        if status is None and manner not in REDIRECTS and not path.is_file():
            status = HTTPStatus.NOT_FOUND
        if status is not None:
            self._answer(status)
        elif manner in REDIRECTS:
            self._answer(HTTPStatus.FOUND, Location=REDIRECTS[manner].format(url=self.web.url, name=name))
        else:
            self._send_file(path.read_bytes(), manner)

    def _refusal(self, manner: str, query: str) -> HTTPStatus | None:
        if manner == "signed" and query != SIGNATURE:
            return HTTPStatus.FORBIDDEN
        if manner == "flaky" and self.web.is_first(self.path):
            return HTTPStatus.SERVICE_UNAVAILABLE
        return REFUSALS.get(manner)

    def _send_file(self, content: bytes, manner: str) -> None:
        span = self.headers.get("Range") if manner != "wholly" else None
        start = int(span.removeprefix("bytes=").rstrip("-")) if span else 0
        body = content[start:]
        self.send_response(HTTPStatus.PARTIAL_CONTENT if span else HTTPStatus.OK)
        if span:
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        is_cut = manner in ("cut", "wholly") and self.web.is_first(self.path)
        self.wfile.write(body[: len(body) // 2] if is_cut else body)

    def _answer(self, status: HTTPStatus, **headers: str) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": "0"}.items():
            self.send_header(name, value)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Nothing: the tests look at `requests`."""


def _write_certificate(path: Path) -> None:
    """Self-signed: it is its own authority."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "test web server")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    encoding = serialization.Encoding.PEM
    private = key.private_bytes(encoding, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(private + certificate.public_bytes(encoding))
