"""Reading one object from a source to its end, across failures that pass: continue where it stopped, wait longer each
time, give up at the deadline. Sources (https, s3, pvc) raise TransientError for what may pass, FatalError for the rest.
"""

import logging
import random
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Protocol

from neuron_runtime.termination import FatalError, Reason

CHUNK_BYTES = 2**20
_FIRST_WAIT_SECONDS = 0.5
_LONGEST_WAIT_SECONDS = 20.0

log = logging.getLogger("neuron_runtime.fetch")


class TransientError(Exception):
    """The same request may succeed later. The text must be fit to be shown."""

    def __init__(self, message: str, retry_after_seconds: float = 0.0) -> None:
        super().__init__(message)
        self.retry_after_seconds = retry_after_seconds


@dataclass(frozen=True)
class OpenedObject:
    """An object's bytes from `offset` on, which is 0 where the server cannot start in the middle."""

    chunks: Iterator[bytes]
    offset: int
    total_bytes: int | None


class Source(Protocol):
    def open(self, relative: str, offset: int) -> AbstractContextManager[OpenedObject]:
        """A file of the bundle, or the archive itself for "". Reading may raise TransientError too."""

    def shown(self, relative: str) -> str:
        """The object's address as logs and messages may have it."""

    def close(self) -> None:
        """Ends its connections."""


class Patience:
    """How long one fetch keeps trying: so many failures in a row, and a time for all its objects together."""

    def __init__(
        self,
        timeout_seconds: float,
        failures_in_a_row: int = 6,
        sleep: Callable[[float], None] = time.sleep,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._timeout_seconds = timeout_seconds
        self._deadline = clock() + timeout_seconds
        self._allowed = failures_in_a_row
        self._failures = 0
        self._sleep = sleep
        self._clock = clock

    def progressed(self, shown: str) -> None:
        self._failures = 0
        if self._clock() > self._deadline:
            raise self._out_of_time(shown, "it was still arriving")

    def wait_after(self, error: TransientError, shown: str) -> None:
        """Sleeps, or raises FatalError when there is no point in another try."""
        self._failures += 1
        if self._failures >= self._allowed:
            raise FatalError(
                Reason.ARTIFACT_UNREACHABLE,
                f"{shown} cannot be read: {error} ({self._failures} tries in a row).",
                hint="Check that the pod can reach the host: DNS, network policies, egress, proxy settings.",
            ) from error
        longest = min(_FIRST_WAIT_SECONDS * 2**self._failures, _LONGEST_WAIT_SECONDS)
        # Spread: the replicas of a model start together and would come back together.
        wait = max(random.SystemRandom().uniform(longest / 2, longest), error.retry_after_seconds)
        if self._clock() + wait > self._deadline:
            raise self._out_of_time(shown, str(error)) from error
        log.warning("trying again", extra={"uri": shown, "error": str(error), "wait_seconds": round(wait, 1)})
        self._sleep(wait)

    def _out_of_time(self, shown: str, last: str) -> FatalError:
        return FatalError(
            Reason.ARTIFACT_UNREACHABLE,
            f"{shown} did not arrive within {self._timeout_seconds:g} seconds: {last}.",
            hint="Check the connection's speed, or allow more time (NEURON_RUNTIME_FETCH_TIMEOUT_SECONDS).",
        )


def read(source: Source, relative: str, offset: int, patience: Patience) -> Iterator[bytes]:
    """The object's bytes from `offset` to its end, however often the connection breaks."""
    position, shown = offset, source.shown(relative)
    while True:
        try:
            with source.open(relative, position) as opened:
                for chunk in _from(opened, position):
                    position += len(chunk)
                    patience.progressed(shown)
                    yield chunk
                if opened.total_bytes is not None and position < opened.total_bytes:
                    raise TransientError(f"the connection ended after {position} of {opened.total_bytes} bytes")
                return
        except TransientError as error:
            patience.wait_after(error, shown)


def _from(opened: OpenedObject, position: int) -> Iterator[bytes]:
    """Drops what comes before `position` when the server began earlier."""
    surplus = position - opened.offset
    for chunk in opened.chunks:
        rest = chunk[surplus:] if surplus else chunk
        surplus -= min(surplus, len(chunk))
        if rest:
            yield rest
