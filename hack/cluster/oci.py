"""Writes container images in the OCI layout, as one tar, without a container engine.

Used for the pause image (`pause_image`) and for what `loading` hands to containerd. Pure but for the file it
writes to. Layers are uncompressed: both ends are this machine.
"""

import dataclasses
import hashlib
import io
import json
import platform
import tarfile
from collections.abc import Iterable
from typing import IO, Any

_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
_CONFIG = "application/vnd.oci.image.config.v1+json"
_LAYER = "application/vnd.oci.image.layer.v1.tar"
_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64"}


@dataclasses.dataclass(frozen=True)
class Layer:
    """A layer by its digest and size; without content where the receiver has it already."""

    digest: str
    size_bytes: int
    content: IO[bytes] | None = None


def digest_of(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def architecture() -> str:
    return _ARCHITECTURES.get(platform.machine(), platform.machine())


def write_archive(target: IO[bytes], name: str, configuration: bytes, layers: Iterable[Layer]) -> int:
    """Writes the image as `name`; returns how many bytes of layers went in."""
    listed = tuple(layers)
    written = 0
    with tarfile.open(fileobj=target, mode="w|") as archive:
        for layer in listed:
            if layer.content is not None:
                _add(archive, _blob(layer.digest), layer.content, layer.size_bytes)
                written += layer.size_bytes
        manifest = _encode(
            {
                "schemaVersion": 2,
                "mediaType": _MANIFEST,
                "config": _descriptor(_CONFIG, digest_of(configuration), len(configuration)),
                "layers": [_descriptor(_LAYER, layer.digest, layer.size_bytes) for layer in listed],
            }
        )
        entry = _descriptor(_MANIFEST, digest_of(manifest), len(manifest))
        entry["annotations"] = {"io.containerd.image.name": name}
        _add_bytes(archive, _blob(digest_of(configuration)), configuration)
        _add_bytes(archive, _blob(digest_of(manifest)), manifest)
        _add_bytes(archive, "index.json", _encode({"schemaVersion": 2, "manifests": [entry]}))
        _add_bytes(archive, "oci-layout", _encode({"imageLayoutVersion": "1.0.0"}))
    return written


def _descriptor(media_type: str, digest: str, size: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size}


def _encode(value: object) -> bytes:
    return json.dumps(value, separators=(",", ":")).encode()


def _blob(digest: str) -> str:
    return f"blobs/{digest.replace(':', '/')}"


def _add_bytes(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    _add(archive, name, io.BytesIO(content), len(content))


def _add(archive: tarfile.TarFile, name: str, content: IO[bytes], size: int) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = size
    archive.addfile(entry, content)
