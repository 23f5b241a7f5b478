"""What a container says when it gives up: the termination message the operator reads, and the error that becomes it.

`fetch` and `serve` raise FatalError where they know the cause; their outermost frame writes it with `write`. The
kubelet hands the file to the API server as the container's termination message, at most 4096 bytes of it. Only text the
runtime made belongs here: never a secret, a query string or a payload.
"""

from enum import StrEnum
from pathlib import Path
from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

MAX_BYTES = 4096


class Reason(StrEnum):
    """Why a container ended. The operator shows it as the reason of Ready=False."""

    ARTIFACT_NOT_FOUND = "ArtifactNotFound"
    ARTIFACT_UNAUTHORIZED = "ArtifactUnauthorized"
    ARTIFACT_UNREACHABLE = "ArtifactUnreachable"
    ARTIFACT_CORRUPT = "ArtifactCorrupt"
    ARTIFACT_TOO_LARGE = "ArtifactTooLarge"
    DISK_FULL = "DiskFull"
    MODEL_LOAD_FAILED = "ModelLoadFailed"
    NEURON_CORES_BUSY = "NeuronCoresBusy"
    COMPILER_VERSION_MISMATCH = "CompilerVersionMismatch"
    OUT_OF_MEMORY = "OutOfMemory"
    OUT_OF_DEVICE_MEMORY = "OutOfDeviceMemory"
    HARDWARE_ERROR = "HardwareError"
    INVALID_CONFIGURATION = "InvalidConfiguration"


class FatalError(Exception):
    """Ends the process: what happened and where (message), and what to do next (hint)."""

    def __init__(self, reason: Reason, message: str, *, hint: str, details: dict[str, str] | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.hint = hint
        self.details = details or {}

    def __str__(self) -> str:
        return f"{self.reason}: {self.message} {self.hint}"


class TerminationMessage(BaseModel):
    """The JSON in the termination message file."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    schema_version: Literal[1] = 1
    reason: Reason
    message: str = Field(description="What happened, and where.")
    hint: str = Field(description="What to do next.")
    details: dict[str, str] = Field(default_factory=dict, description="Facts a program may read: sizes, paths, codes.")

    @classmethod
    def from_error(cls, error: FatalError) -> Self:
        return cls(reason=error.reason, message=error.message, hint=error.hint, details=error.details)

    def to_bytes(self) -> bytes:
        """At most 4096 bytes of JSON: the message is cut first, then the details go, then the hint is cut."""
        candidate = self
        for field in ("message", "details", "hint"):
            encoded = candidate._encoded()
            if len(encoded) <= MAX_BYTES:
                return encoded
            shorter = {} if field == "details" else candidate._cut(field)
            candidate = candidate.model_copy(update={field: shorter})
        encoded = candidate._encoded()
        assert len(encoded) <= MAX_BYTES, "a reason alone never fills the message"
        return encoded

    def write(self, path: Path) -> bool:
        """Whether the message was written. Never raises: failing to explain must not hide what is being explained."""
        # The kubelet mounts /dev/termination-log; outside a pod nobody would read a file made there.
        if path.parent == Path("/dev") and not path.exists():
            return False
        try:
            path.write_bytes(self.to_bytes())
        except OSError:
            return False
        return True

    def _encoded(self) -> bytes:
        return self.model_dump_json(by_alias=True).encode()

    def _cut(self, field: str) -> str:
        """The longest start of the field that lets the whole message fit. By trying: JSON escapes make bytes uneven."""
        text: str = getattr(self, field)
        fits, too_long = 0, len(text)
        while too_long - fits > 1:
            middle = (fits + too_long) // 2
            encoded = self.model_copy(update={field: text[:middle] + "…"})._encoded()
            fits, too_long = (middle, too_long) if len(encoded) <= MAX_BYTES else (fits, middle)
        return text[:fits] + "…"
