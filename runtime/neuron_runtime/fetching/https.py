"""Bundles behind https://: GET with Range, redirects followed one by one so that none leads to plain http unseen."""

import ssl
from collections.abc import Iterator
from contextlib import contextmanager
from urllib.parse import quote

import httpx

import neuron_runtime
from neuron_runtime.fetching.addresses import Address, check_transport
from neuron_runtime.fetching.streams import OpenedObject, TransientError
from neuron_runtime.termination import FatalError, Reason

_MAX_REDIRECTS = 5
_CONNECT_SECONDS, _STALL_SECONDS = 10.0, 30.0
_MAX_RETRY_AFTER_SECONDS = 60.0
_TRANSIENT = frozenset({408, 425, 429, 500, 502, 503, 504})
_GONE, _REFUSED = frozenset({404, 410}), frozenset({401, 403, 407})


class HttpsSource:
    def __init__(self, address: Address) -> None:
        self._address = address
        self._client = httpx.Client(
            timeout=httpx.Timeout(_STALL_SECONDS, connect=_CONNECT_SECONDS),
            # identity: the sums in model.json are of the files as they are stored.
            headers={"User-Agent": f"neuron-runtime/{neuron_runtime.__version__}", "Accept-Encoding": "identity"},
        )

    def shown(self, relative: str) -> str:
        return self._address.shown_file(relative)

    @contextmanager
    def open(self, relative: str, offset: int) -> Iterator[OpenedObject]:
        try:
            response = self._get(relative, offset)
            try:
                self._refuse(response, relative)
                yield _opened(response, offset)
            finally:
                response.close()
        except httpx.TransportError as error:
            raise self._unreachable(error, relative) from error

    def close(self) -> None:
        self._client.close()

    def _get(self, relative: str, offset: int) -> httpx.Response:
        url = self._url(relative)
        headers = {"Range": f"bytes={offset}-"} if offset else {}
        for _ in range(_MAX_REDIRECTS):
            response = self._client.send(self._client.build_request("GET", url, headers=headers), stream=True)
            if response.next_request is None:
                return response
            response.close()
            url = response.next_request.url
            check_transport(
                url.scheme, url.host, f"The redirect from {self.shown(relative)} to {url.scheme}://{url.host}"
            )
        raise FatalError(
            Reason.ARTIFACT_UNREACHABLE,
            f"{self.shown(relative)} redirects more than {_MAX_REDIRECTS} times.",
            hint="Give the address it leads to.",
        )

    def _url(self, relative: str) -> httpx.URL:
        address = self._address
        path = quote(address.object_path(relative), safe="/%:@!$&'()*+,;=~")
        query = f"?{address.query}" if address.query else ""
        return httpx.URL(f"{address.scheme}://{address.place}/{path}{query}")

    def _refuse(self, response: httpx.Response, relative: str) -> None:
        status, shown = response.status_code, self.shown(relative)
        if status in (200, 206):
            return
        said = f"{shown} answers {status} {response.reason_phrase}".rstrip()
        if status in _TRANSIENT:
            raise TransientError(f"the server answers {status}", _retry_after_seconds(response))
        if status in _GONE:
            hint = "Check the URI: it is the directory that holds model.json, or a .tar or .tar.gz of it."
            raise FatalError(Reason.ARTIFACT_NOT_FOUND, f"{said}.", hint=hint, details={"status": str(status)})
        if status in _REFUSED:
            hint = "Give an address that may be read without a login, or a presigned one that has not expired."
            raise FatalError(Reason.ARTIFACT_UNAUTHORIZED, f"{said}.", hint=hint, details={"status": str(status)})
        if status == 416:
            hint = "The object changed while it was read: run the fetch again."
            raise FatalError(Reason.ARTIFACT_CORRUPT, f"{said}.", hint=hint)
        hint = "Open the address with curl from inside the cluster to see what the server says."
        raise FatalError(Reason.ARTIFACT_UNREACHABLE, f"{said}.", hint=hint, details={"status": str(status)})

    def _unreachable(self, error: httpx.TransportError, relative: str) -> Exception:
        if _is_certificate_error(error):
            return FatalError(
                Reason.ARTIFACT_UNREACHABLE,
                f"{self.shown(relative)} has a certificate that cannot be verified: {error}.",
                hint="Mount the authority's certificate and name it in SSL_CERT_FILE, or correct the host name.",
            )
        return TransientError(f"{type(error).__name__}: {error}" if str(error) else type(error).__name__)


def _opened(response: httpx.Response, offset: int) -> OpenedObject:
    length = response.headers.get("Content-Length", "")
    start = 0
    if response.status_code == 206:
        # "bytes 100-199/200"; without the header the server sends what was asked for.
        given = response.headers.get("Content-Range", "").removeprefix("bytes ").partition("-")[0]
        start = int(given) if given.isdigit() else offset
        if start > offset:
            raise TransientError(f"the server sends from byte {start} where {offset} was asked for")
    total = start + int(length) if length.isdigit() else None
    # As they come: gathered into larger chunks, what arrived before a break would be lost.
    return OpenedObject(response.iter_raw(), start, total)


def _retry_after_seconds(response: httpx.Response) -> float:
    text = response.headers.get("Retry-After", "")
    return min(float(text), _MAX_RETRY_AFTER_SECONDS) if text.isdigit() else 0.0


def _is_certificate_error(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, ssl.SSLCertVerificationError):
            return True
        error = error.__cause__ or error.__context__
    return False
