"""Reads a model bundle from a directory and proves that it is whole: every file's size and sha256 as model.json says.

`fetch` verifies what it brought, `serve` verifies before it loads, `inspect` shows what was found. Raises FatalError
with the file concerned and the next step; never changes anything on disk.
"""

import hashlib
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from neuron_runtime.bundle import BundleFile, Manifest
from neuron_runtime.termination import FatalError, Reason

MANIFEST_NAME = "model.json"
MANIFEST_MAX_BYTES = 4 * 2**20
_FETCH_AGAIN = "Fetch the bundle again, or pack it again if the stored copy is the broken one."


@dataclass(frozen=True)
class Bundle:
    """A bundle on disk. `digest` is `sha256:<hex>` of model.json and so pins every file."""

    directory: Path
    manifest: Manifest
    digest: str

    def path(self, relative: str) -> Path:
        return self.directory / relative


def load_bundle(directory: Path, *, digest: str | None = None, verify: bool = True) -> Bundle:
    """`digest` is what model.json must hash to; without `verify` the other files are not read."""
    content = read_manifest_bytes(directory)
    found = digest_of(content)
    where = str(directory / MANIFEST_NAME)
    check_digest(found, digest, where)
    bundle = Bundle(directory, parse_manifest(content, where), found)
    if verify:
        for file in bundle.manifest.files:
            verify_file(directory / file.path, file)
    return bundle


def read_manifest_bytes(directory: Path) -> bytes:
    if not directory.is_dir():
        raise FatalError(
            Reason.ARTIFACT_NOT_FOUND,
            f"There is no bundle directory at {directory}.",
            hint="Check the path, or fetch the bundle first (neuron-runtime fetch URI DEST).",
        )
    path = directory / MANIFEST_NAME
    try:
        if path.stat().st_size > MANIFEST_MAX_BYTES:
            raise FatalError(
                Reason.ARTIFACT_CORRUPT, f"{path} is larger than {MANIFEST_MAX_BYTES} bytes.", hint=_FETCH_AGAIN
            )
        return path.read_bytes()
    except FileNotFoundError:
        raise FatalError(
            Reason.ARTIFACT_NOT_FOUND,
            f"{directory} holds no {MANIFEST_NAME}, so it is not a model bundle.",
            hint="Write one from a traced model with neuron-runtime pack.",
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from error


def parse_manifest(content: bytes, where: str) -> Manifest:
    try:
        return Manifest.model_validate_json(content)
    except ValidationError as error:
        first, more = error.errors()[0], error.error_count() - 1
        field = ".".join(str(part) for part in first["loc"]) or "the document"
        also = f" ({more} more)" if more else ""
        raise FatalError(
            Reason.ARTIFACT_CORRUPT,
            f"{where} is not a valid bundle manifest: {field}: {first['msg']}{also}.",
            hint="Write it with neuron-runtime pack of this release; docs/reference/bundle.schema.json is its schema.",
            details={"field": field},
        ) from None


def digest_of(manifest_bytes: bytes) -> str:
    return f"sha256:{hashlib.sha256(manifest_bytes).hexdigest()}"


def check_digest(found: str, wanted: str | None, where: str) -> None:
    if wanted is not None and found != wanted:
        raise FatalError(
            Reason.ARTIFACT_CORRUPT,
            f"{where} has the digest {found}, but {wanted} was asked for.",
            hint="The bundle changed or the digest is another version's: set artifact.digest to the bundle you mean.",
            details={"found": found, "wanted": wanted},
        )


def verify_file(path: Path, expected: BundleFile) -> None:
    try:
        size = path.stat().st_size
        if size != expected.bytes:
            raise FatalError(
                Reason.ARTIFACT_CORRUPT,
                f"{path} has {size} bytes, but {MANIFEST_NAME} says {expected.bytes}.",
                hint=_FETCH_AGAIN,
                details={"file": expected.path},
            )
        found = sha256_of(path)
    except FileNotFoundError:
        raise FatalError(
            Reason.ARTIFACT_CORRUPT,
            f"{path} is missing, but {MANIFEST_NAME} names it.",
            hint=_FETCH_AGAIN,
            details={"file": expected.path},
        ) from None
    except OSError as error:
        raise _unreadable(path, error) from error
    if found != expected.sha256:
        raise checksum_mismatch(str(path), found, expected)


def checksum_mismatch(where: str, found: str, expected: BundleFile) -> FatalError:
    return FatalError(
        Reason.ARTIFACT_CORRUPT,
        f"{where} has the sha256 {found}, but {MANIFEST_NAME} says {expected.sha256}.",
        hint=_FETCH_AGAIN,
        details={"file": expected.path},
    )


def sha256_of(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def describe_file(directory: Path, relative: str) -> BundleFile:
    """What model.json says of a file that lies there now."""
    path = directory / relative
    return BundleFile(path=relative, sha256=sha256_of(path), bytes=path.stat().st_size)


def _unreadable(path: Path, error: OSError) -> FatalError:
    return FatalError(
        Reason.ARTIFACT_CORRUPT,
        f"{path} cannot be read: {error.strerror or error}.",
        hint="Check that the user of this process (65532 in the runtime image) may read it, and the disk's health.",
    )
