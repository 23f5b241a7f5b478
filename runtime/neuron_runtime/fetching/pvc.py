"""Bundles on a PersistentVolumeClaim, which the operator mounts read-only under one root in the init container."""

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from neuron_runtime.fetching.addresses import Address
from neuron_runtime.fetching.streams import CHUNK_BYTES, OpenedObject, TransientError
from neuron_runtime.termination import FatalError, Reason

# What network file systems answer while their server is away.
_PASSING = frozenset({errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.EAGAIN, errno.EHOSTDOWN, errno.ENOTCONN})


class PvcSource:
    def __init__(self, address: Address, root: Path) -> None:
        self._address = address
        self._root = root

    def shown(self, relative: str) -> str:
        return self._address.shown_file(relative)

    @contextmanager
    def open(self, relative: str, offset: int) -> Iterator[OpenedObject]:
        shown = self.shown(relative)
        try:
            path = (self._root / self._address.object_path(relative)).resolve()
            if not path.is_relative_to(self._root.resolve()):
                hint = "Put the files themselves on the claim; links may not lead out of it."
                raise FatalError(Reason.INVALID_CONFIGURATION, f"{shown} is a link that leaves the claim.", hint=hint)
            with path.open("rb") as file:
                total = path.stat().st_size
                file.seek(offset)
                yield OpenedObject(iter(lambda: file.read(CHUNK_BYTES), b""), offset, total)
        except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
            hint = f"Check the path on the claim {self._address.place}: pvc://CLAIM/PATH/ is where model.json lies."
            raise FatalError(Reason.ARTIFACT_NOT_FOUND, f"There is no file {shown}.", hint=hint) from None
        except PermissionError:
            hint = "Let the user 65532 read it: chmod -R a+rX on the claim, or an fsGroup that owns it."
            raise FatalError(Reason.ARTIFACT_UNAUTHORIZED, f"{shown} may not be read.", hint=hint) from None
        except OSError as error:
            if error.errno in _PASSING:
                raise TransientError(f"the claim answers {error.strerror}") from error
            hint = f"Check the volume behind the claim {self._address.place}."
            message = f"{shown} cannot be read: {error.strerror or error}."
            raise FatalError(Reason.ARTIFACT_UNREACHABLE, message, hint=hint) from error

    def close(self) -> None:
        """Nothing is held open."""
