"""Unpacks a bundle from a tar while it streams in. Names that climb or are absolute, links and devices are refused;
files that no bundle can name (hidden ones, a Mac's ._ files) are left out.
"""

import io
import posixpath
import re
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, TYPE_CHECKING

from neuron_runtime.artifacts import MANIFEST_NAME
from neuron_runtime.fetching.streams import CHUNK_BYTES
from neuron_runtime.termination import FatalError, Reason

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

_MAX_MEMBERS = 10_000
_SAFE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_HINT = "Make it with: tar -C BUNDLE -czf model.tar.gz ."


class ChunkReader(io.RawIOBase):
    """Chunks as the file that tarfile's stream mode reads."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = memoryview(b"")

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: "WriteableBuffer") -> int:
        if not self._rest:
            self._rest = memoryview(next(self._chunks, b""))
        view = memoryview(buffer)
        count = min(len(view), len(self._rest))
        view[:count], self._rest = self._rest[:count], self._rest[count:]
        return count


def unpack(chunks: Iterator[bytes], target: Path, shown: str, check_size: Callable[[int], None]) -> Path:
    """The directory below `target` that holds model.json. `check_size` sees the bytes so far, before each file."""
    unpacked = 0
    try:
        with tarfile.open(fileobj=io.BufferedReader(ChunkReader(chunks)), mode="r|*") as archive:
            for number, member in enumerate(archive):
                if number >= _MAX_MEMBERS:
                    raise _refused(shown, f"it has more than {_MAX_MEMBERS} entries")
                name = _name(member, shown)
                if name is None:
                    continue
                unpacked += member.size
                check_size(unpacked)
                content = archive.extractfile(member)
                assert content is not None, "only regular files come this far"
                _write(content, target / name)
    except (tarfile.TarError, EOFError, zlib.error) as error:
        raise _refused(shown, f"it cannot be read as a tar: {error}") from error
    found = sorted(target.rglob(MANIFEST_NAME), key=lambda path: len(path.parts))
    if not found:
        raise FatalError(Reason.ARTIFACT_NOT_FOUND, f"{shown} holds no {MANIFEST_NAME}.", hint=_HINT)
    return found[0].parent


def _name(member: tarfile.TarInfo, shown: str) -> str | None:
    """Where the member goes, or None for one that is left out."""
    parts = PurePosixPath(member.name).parts
    if member.name.startswith("/") or ".." in parts:
        raise _refused(shown, "it has an entry that leaves its directory")
    if member.isdir():
        return None
    if not member.isreg():
        raise _refused(shown, "it has a link or a device; only plain files are unpacked")
    name = posixpath.normpath(member.name)
    return name if _SAFE_NAME.fullmatch(name) else None


def _write(content: IO[bytes], path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        while chunk := content.read(CHUNK_BYTES):
            file.write(chunk)


def _refused(shown: str, why: str) -> FatalError:
    return FatalError(Reason.ARTIFACT_CORRUPT, f"{shown} is refused: {why}.", hint=_HINT)
