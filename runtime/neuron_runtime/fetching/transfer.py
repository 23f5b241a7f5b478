"""One fetch from its address to its directory: manifest first, limits before bytes, every file verified as it arrives.

What an interrupted run left is used again, file by file; a tar starts over. Called by `command`; raises FatalError.
"""

import hashlib
import importlib
import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from neuron_runtime.artifacts import (
    MANIFEST_MAX_BYTES,
    MANIFEST_NAME,
    Bundle,
    check_digest,
    checksum_mismatch,
    digest_of,
    load_bundle,
    parse_manifest,
)
from neuron_runtime.bundle import BundleFile
from neuron_runtime.fetching import archive
from neuron_runtime.fetching.addresses import Address, parse_address
from neuron_runtime.fetching.destination import Destination
from neuron_runtime.fetching.pvc import PvcSource
from neuron_runtime.fetching.streams import Patience, Source, read
from neuron_runtime.termination import FatalError, Reason

log = logging.getLogger("neuron_runtime.fetch")

_SOURCES = {
    "https": ("neuron_runtime.fetching.https", "HttpsSource"),
    "http": ("neuron_runtime.fetching.https", "HttpsSource"),
    "s3": ("neuron_runtime.fetching.s3", "S3Source"),
}


@dataclass(frozen=True)
class Request:
    uri: str
    destination: Path
    digest: str | None = None
    max_bytes: int | None = None
    pvc_root: Path = Path("/mnt/pvc")
    timeout_seconds: float = 1500.0


def fetch(request: Request) -> Bundle:
    address = parse_address(request.uri)
    destination = Destination(request.destination, request.uri)
    present = destination.complete_bundle(request.digest)
    if present is not None:
        log.info(
            "already there", extra={"uri": address.shown, "digest": present.digest, "path": str(request.destination)}
        )
        return present
    destination.prepare()
    patience = Patience(request.timeout_seconds)
    started = time.monotonic()
    with _source(address, request) as source:
        bring = _bring_archive if address.is_archive else _bring_files
        bundle = destination.publish(bring(source, destination, patience, request))
    _log_bytes("fetched the bundle", address.shown, bundle.manifest.total_bytes, started, digest=bundle.digest)
    return bundle


@contextmanager
def _source(address: Address, request: Request) -> Iterator[Source]:
    source = _open_source(address, request.pvc_root)
    try:
        yield source
    finally:
        source.close()


def _open_source(address: Address, pvc_root: Path) -> Source:
    """Each kind's library is imported only for its own addresses: botocore and httpx take a good part of a second."""
    if address.scheme == "pvc":
        return PvcSource(address, pvc_root)
    module, name = _SOURCES[address.scheme]
    source: Source = getattr(importlib.import_module(module), name)(address)
    return source


def _bring_files(source: Source, destination: Destination, patience: Patience, request: Request) -> Bundle:
    content = _manifest_bytes(source, patience)
    digest, shown = digest_of(content), source.shown(MANIFEST_NAME)
    check_digest(digest, request.digest, shown)
    manifest = parse_manifest(content, shown)
    _check_size(manifest.total_bytes, request.max_bytes, source.shown(""))
    with destination.writing():
        missing = sum(file.bytes - _size(destination.partial_file(file.path), file) for file in manifest.files)
        destination.require_space(missing, source.shown(""))
        for file in manifest.files:
            _bring_file(source, file, destination, patience)
        destination.partial_file(MANIFEST_NAME).write_bytes(content)
    return Bundle(destination.partial, manifest, digest)


def _manifest_bytes(source: Source, patience: Patience) -> bytes:
    content = b""
    for chunk in read(source, MANIFEST_NAME, 0, patience):
        content += chunk
        if len(content) > MANIFEST_MAX_BYTES:
            raise FatalError(
                Reason.ARTIFACT_CORRUPT,
                f"{source.shown(MANIFEST_NAME)} is larger than {MANIFEST_MAX_BYTES} bytes.",
                hint="Check the URI: this is no bundle's model.json.",
            )
    return content


def _bring_file(source: Source, file: BundleFile, destination: Destination, patience: Patience) -> None:
    path = destination.partial_file(file.path)
    path.parent.mkdir(parents=True, exist_ok=True)
    started = time.monotonic()
    resumed = _size(path, file)
    try:
        _download(source, file, path, patience)
    except FatalError as error:
        if not resumed or error.reason is not Reason.ARTIFACT_CORRUPT:
            raise
        # What an earlier run left was of another version: once more, from the start.
        path.unlink(missing_ok=True)
        resumed = 0
        _download(source, file, path, patience)
    _log_bytes("fetched", source.shown(file.path), file.bytes - resumed, started)


def _size(path: Path, file: BundleFile) -> int:
    """Bytes of the file that are there already; a longer one is of another version and counts for nothing."""
    size = path.stat().st_size if path.is_file() else 0
    return size if size <= file.bytes else 0


def _download(source: Source, file: BundleFile, path: Path, patience: Patience) -> None:
    """Appends what is missing, summing all of it; leaves what arrived when it breaks off."""
    sum_so_far = hashlib.sha256()
    present = _size(path, file)
    with path.open("r+b" if present else "wb") as target:
        while chunk := target.read(2**20) if present else b"":
            sum_so_far.update(chunk)
        position = present
        if position < file.bytes:
            for chunk in read(source, file.path, position, patience):
                position += len(chunk)
                if position > file.bytes:
                    break
                sum_so_far.update(chunk)
                target.write(chunk)
    shown = source.shown(file.path)
    if position != file.bytes:
        size = f"more than {file.bytes}" if position > file.bytes else str(position)
        path.unlink()
        raise FatalError(
            Reason.ARTIFACT_CORRUPT,
            f"{shown} has {size} bytes, but {MANIFEST_NAME} says {file.bytes}.",
            hint="Upload the bundle again, model.json last.",
            details={"file": file.path},
        )
    if sum_so_far.hexdigest() != file.sha256:
        path.unlink()
        raise checksum_mismatch(shown, sum_so_far.hexdigest(), file)


def _bring_archive(source: Source, destination: Destination, patience: Patience, request: Request) -> Bundle:
    destination.discard_partial()
    shown = source.shown("")

    def check_size(unpacked: int) -> None:
        _check_size(unpacked, request.max_bytes, shown)

    try:
        with destination.writing():
            destination.partial.mkdir()
            directory = archive.unpack(read(source, "", 0, patience), destination.partial, shown, check_size)
        return load_bundle(directory, digest=request.digest)
    except FatalError:
        destination.discard_partial()
        raise


def _check_size(size: int, max_bytes: int | None, shown: str) -> None:
    if max_bytes is not None and size > max_bytes:
        raise FatalError(
            Reason.ARTIFACT_TOO_LARGE,
            f"{shown} holds {size} bytes or more; the limit is {max_bytes}.",
            hint="Raise the limit (--max-bytes), or pack fewer buckets.",
            details={"bytes": str(size), "maxBytes": str(max_bytes)},
        )


def _log_bytes(event: str, shown: str, count: int, started: float, **more: str) -> None:
    seconds = time.monotonic() - started
    log.info(event, extra={"uri": shown, "bytes": count, "seconds": round(seconds, 3), **more})
