"""Live and ready, computed from the workers as they are at this moment. Pure; never latches.

The health routes ask on every call, so a pod that lost its last worker stops being ready at once and is ready again
when the replacement is warm.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum


class WorkerState(StrEnum):
    """Where a worker is in its life; each state has its own deadline (`pool`)."""

    STARTING = "starting"
    LOADING = "loading"
    WARMING = "warming"
    READY = "ready"
    LOST = "lost"
    """Its process is gone; a replacement starts after a pause."""
    GIVEN_UP = "given-up"
    """The core is broken; no replacement will be started."""


@dataclass(frozen=True)
class Readiness:
    is_ready: bool
    reason: str


def readiness(workers: Sequence[WorkerState], *, is_draining: bool) -> Readiness:
    """Ready while at least one worker is, and the pod has not been told to go."""
    if is_draining:
        return Readiness(is_ready=False, reason="draining: the pod is shutting down")
    ready = sum(state is WorkerState.READY for state in workers)
    if ready:
        return Readiness(is_ready=True, reason=f"{ready} of {len(workers)} workers are ready")
    counts = {state: sum(other is state for other in workers) for state in WorkerState}
    listed = ", ".join(f"{count} {state}" for state, count in counts.items() if count)
    return Readiness(is_ready=False, reason=f"no worker is ready ({listed or 'none configured'})")
