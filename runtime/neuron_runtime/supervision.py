"""What to do when a worker has ended: start another, after how long, give its core up, or end the whole process. Pure.

what happened                          was any worker ever ready?   then
the core is busy                       no                           again for 3 s, then exit NeuronCoresBusy
loading failed with a reason           no                           exit with that reason
died or hung while loading             no                           again twice, then exit
died or hung, loading failed           yes                          again, after a pause that doubles
… and no worker is ready, 5 times      yes                          exit with the last reason
the device is broken                   yes                          give the core up; exit when it was the last
"""

import signal
from dataclasses import dataclass, field, replace
from typing import TypeAlias

from neuron_runtime import nrt
from neuron_runtime.messages import Fatal
from neuron_runtime.termination import FatalError, Reason

BUSY_SECONDS = 3.0
BUSY_PAUSE_SECONDS = 0.25
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
SILENT_DEATHS_AT_START = 3
FAILURES_WITHOUT_ANY_WORKER = 5


@dataclass(frozen=True)
class Ending:
    """How one life of a worker ended. `hung` names the state whose deadline passed."""

    exit_code: int
    was_ready: bool
    fatal: Fatal | None
    hung: str | None
    last_lines: tuple[str, ...]

    @property
    def how(self) -> str:
        if self.hung:
            return f"hung while {self.hung}"
        if self.exit_code < 0:
            return f"killed by {signal.Signals(-self.exit_code).name}"
        return f"exit code {self.exit_code}"


@dataclass(frozen=True)
class History:
    """What is remembered of one core between lives. Times are monotonic seconds."""

    failures: int = 0
    busy_since: float | None = None
    reasons: tuple[str, ...] = field(default=())


@dataclass(frozen=True)
class Restart:
    after_seconds: float
    history: History


@dataclass(frozen=True)
class GiveUp:
    reason: str


@dataclass(frozen=True)
class Exit:
    error: FatalError


Step: TypeAlias = Restart | GiveUp | Exit


@dataclass(frozen=True)
class Surroundings:
    """The other workers, at the moment one ended."""

    was_any_ready: bool
    is_any_ready: bool
    other_cores: int
    """Cores besides this one that are not given up."""


def next_step(ending: Ending, history: History, around: Surroundings, now: float) -> Step:
    """The decision for the core whose worker has just ended."""
    if ending.was_ready:
        return Restart(FIRST_PAUSE_SECONDS, History())
    cause = cause_of(ending)
    history = replace(history, failures=history.failures + 1)
    if cause.reason is Reason.NEURON_CORES_BUSY and not around.is_any_ready:
        since = now if history.busy_since is None else history.busy_since
        if now - since < BUSY_SECONDS:
            return Restart(BUSY_PAUSE_SECONDS, replace(history, busy_since=since))
        return Exit(cause)
    if not around.was_any_ready:
        is_silent = ending.fatal is None
        if is_silent and history.failures < SILENT_DEATHS_AT_START:
            return Restart(_pause(history.failures), history)
        return Exit(cause)
    if cause.reason is Reason.HARDWARE_ERROR:
        return GiveUp(cause.message) if around.other_cores else Exit(cause)
    if not around.is_any_ready and history.failures >= FAILURES_WITHOUT_ANY_WORKER:
        return Exit(cause)
    return Restart(_pause(history.failures), history)


def cause_of(ending: Ending) -> FatalError:
    """Why a worker could not start, as the termination message says it."""
    known = nrt.classify("\n".join(ending.last_lines))
    if ending.fatal is not None:
        fatal = ending.fatal
        reason, hint = Reason(fatal.reason), fatal.hint
        if reason is Reason.MODEL_LOAD_FAILED and known is not nrt.UNKNOWN and "nrtStatus" not in fatal.details:
            # The native runtime prints its status to the log and raises something vaguer.
            reason, hint = known.reason, known.hint
        return FatalError(reason, fatal.message, hint=hint, details=dict(fatal.details))
    if known is not nrt.UNKNOWN:
        return FatalError(known.reason, f"the worker ended while loading: {known.name}", hint=known.hint)
    if ending.exit_code == -signal.SIGKILL and ending.hung is None:
        return FatalError(
            Reason.OUT_OF_MEMORY,
            "the worker was killed (SIGKILL) while loading the model, most likely by the kernel for lack of memory",
            hint="raise the container's memory limit, or serve on fewer cores: each worker loads the model once",
        )
    last = f"; its last line was: {ending.last_lines[-1][:300]}" if ending.last_lines else ""
    return FatalError(
        Reason.MODEL_LOAD_FAILED,
        f"the worker ended while loading the model ({ending.how}){last}",
        hint="see the container's log for what the program or the Neuron runtime printed",
    )


def _pause(failures: int) -> float:
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (failures - 1))
