"""The directory a bundle is fetched to. Files arrive under .partial and are renamed when all are verified, model.json
last: whoever finds model.json finds a whole bundle. The directory itself may be a mount and is never renamed.
"""

import errno
import hashlib
import shutil
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from neuron_runtime.artifacts import MANIFEST_NAME, Bundle, load_bundle
from neuron_runtime.bundle import BundleFile
from neuron_runtime.fetching.record import FetchRecord, read_record
from neuron_runtime.termination import FatalError, Reason

_FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


class Destination:
    def __init__(self, path: Path, uri: str) -> None:
        self._began = time.monotonic()
        self.path = path
        self.partial = path / ".partial"
        # The address as given, without its query: a presigned address is signed anew for the same object.
        self._uri_sha256 = hashlib.sha256(uri.partition("?")[0].encode()).hexdigest()

    def complete_bundle(self, digest: str | None) -> Bundle | None:
        """What an earlier run brought, if it is whole and is what is wanted now: this digest, or else this address."""
        try:
            bundle = load_bundle(self.path, verify=False)
            if not (bundle.digest == digest if digest else self._is_recorded(bundle.digest)):
                return None
            return load_bundle(self.path)
        except FatalError:
            return None

    def prepare(self) -> None:
        with self.writing():
            self.partial.mkdir(parents=True, exist_ok=True)

    def partial_file(self, relative: str) -> Path:
        return self.partial / relative

    def require_space(self, needed: int, what: str) -> None:
        free = shutil.disk_usage(self.path).free
        if needed > free:
            raise FatalError(
                Reason.DISK_FULL,
                f"{what} needs {needed} more bytes in {self.path}, which has {free} free.",
                hint="Free space on the node, use nodes with larger disks, or a volume of its own for the model.",
                details={"neededBytes": str(needed), "freeBytes": str(free)},
            )

    def publish(self, bundle: Bundle) -> Bundle:
        """Renames the files of a verified bundle under .partial into place."""
        with self.writing():
            self._withdraw()
            for file in bundle.manifest.files:
                target = self.path / file.path
                target.parent.mkdir(parents=True, exist_ok=True)
                (bundle.directory / file.path).rename(target)
            (bundle.directory / MANIFEST_NAME).rename(self.path / MANIFEST_NAME)
            FetchRecord(self._uri_sha256, bundle.digest, time.monotonic() - self._began).write(self.path)
            shutil.rmtree(self.partial)
        return Bundle(self.path, bundle.manifest, bundle.digest)

    def discard_partial(self) -> None:
        shutil.rmtree(self.partial, ignore_errors=True)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Turns the disk's own errors into ours."""
        try:
            yield
        except OSError as error:
            if error.errno in _FULL:
                self.discard_partial()
                raise FatalError(
                    Reason.DISK_FULL,
                    f"The disk of {self.path} is full.",
                    hint="Free space on the node, use nodes with larger disks, or a volume of its own for the model.",
                ) from error
            raise FatalError(
                Reason.INVALID_CONFIGURATION,
                f"{self.path} cannot be written to: {error.strerror or error}.",
                hint="Give a directory that the user of this process may write to (65532 in the runtime image).",
            ) from error

    def _withdraw(self) -> None:
        """Removes an earlier bundle's files, its model.json first so that no mixture is ever taken for whole."""
        try:
            earlier: Iterable[BundleFile] = load_bundle(self.path, verify=False).manifest.files
        except FatalError:
            earlier = ()
        (self.path / MANIFEST_NAME).unlink(missing_ok=True)
        for file in earlier:
            (self.path / file.path).unlink(missing_ok=True)

    def _is_recorded(self, digest: str) -> bool:
        record = read_record(self.path)
        return record is not None and (record.uri_sha256, record.digest) == (self._uri_sha256, digest)
