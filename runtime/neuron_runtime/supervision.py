"""What to do when a worker has ended: start another, after how long, give its core up, or end the whole process. Pure.

what happened                         when                              then
the device is broken                  other cores are left              give the core up, else exit HardwareError
nothing here can run the program      whenever                          exit with that reason
the core is busy                      never ready, or no worker ready   again for 3 s, then exit NeuronCoresBusy
loading failed with a reason          no worker was ever ready          exit with that reason
died or hung while loading            no worker was ever ready          again twice, then exit
ended with no batch in hand           no worker ready, 5th short life   exit with the last reason
anything else                                                           again, after a pause that doubles

A life counts as short when its worker was not ready for a minute; only a longer one clears the core's history.
"""

import signal
from dataclasses import dataclass, replace
from typing import TypeAlias

from neuron_runtime import nrt
from neuron_runtime.messages import Fatal
from neuron_runtime.termination import FatalError, Reason

BUSY_SECONDS = 3.0
BUSY_PAUSE_SECONDS = 0.25
FIRST_PAUSE_SECONDS = 0.1
LONGEST_PAUSE_SECONDS = 5.0
HEALTHY_SECONDS = 60.0
"""A worker that was ready for so long was well: what happened to its core before no longer counts."""
SILENT_DEATHS_AT_START = 3
FAILURES_WITHOUT_ANY_WORKER = 5


@dataclass(frozen=True)
class Ending:
    """How one life of a worker ended."""

    exit_code: int
    fatal: Fatal | None = None
    """What the worker itself said of why it cannot load."""
    hung: str | None = None
    """The state whose deadline passed; the front process then killed it."""
    killed_for: str | None = None
    """Why else the front process killed it."""
    ready_seconds: float | None = None
    """How long it was ready; None: never."""
    was_running: bool = False
    """It had batches in hand, so that one of them may be the cause."""
    last_lines: tuple[str, ...] = ()

    @property
    def was_ready(self) -> bool:
        return self.ready_seconds is not None

    @property
    def how(self) -> str:
        if self.hung:
            return f"hung while {self.hung}"
        if self.killed_for and self.exit_code == -signal.SIGKILL:
            return f"ended by the server: {self.killed_for}"
        if self.exit_code < 0:
            return f"killed by {_signal_name(-self.exit_code)}"
        return f"exit code {self.exit_code}"


@dataclass(frozen=True)
class History:
    """What is remembered of one core between lives. Times are monotonic seconds."""

    failures: int = 0
    """Short lives in a row."""
    busy_since: float | None = None


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
    """The core and the other workers, at the moment one ended."""

    was_any_ready: bool
    is_any_ready: bool
    was_core_ready: bool
    """This core had a ready worker before: if it is busy, then most likely with what is left of that one."""
    other_cores: int
    """Cores besides this one that are not given up."""


def next_step(ending: Ending, history: History, around: Surroundings, now: float) -> Step:
    """The decision for the core whose worker has just ended."""
    if ending.ready_seconds is not None and ending.ready_seconds >= HEALTHY_SECONDS:
        history = History()
    history = replace(history, failures=history.failures + 1)
    cause = cause_of(ending)
    if ending.was_ready:
        return _again_or_exit(ending, cause, history, around)
    match _known(ending).action:
        case nrt.Action.GIVE_UP if around.other_cores:
            return GiveUp(cause.message)
        case nrt.Action.GIVE_UP | nrt.Action.EXIT:
            return Exit(cause)
    if cause.reason is Reason.NEURON_CORES_BUSY and not (around.is_any_ready and around.was_core_ready):
        since = now if history.busy_since is None else history.busy_since
        if now - since < BUSY_SECONDS:
            return Restart(BUSY_PAUSE_SECONDS, replace(history, busy_since=since))
        return Exit(cause)
    if not around.was_any_ready:
        is_silent = ending.fatal is None
        if is_silent and history.failures < SILENT_DEATHS_AT_START:
            return Restart(_pause(history.failures), history)
        return Exit(cause)
    return _again_or_exit(ending, cause, history, around)


def _again_or_exit(ending: Ending, cause: FatalError, history: History, around: Surroundings) -> Step:
    # A batch in hand may be what took it down: that is the request's end (see batcher), not the pod's.
    is_hopeless = not around.is_any_ready and not ending.was_running
    if is_hopeless and history.failures >= FAILURES_WITHOUT_ANY_WORKER:
        return Exit(cause)
    return Restart(_pause(history.failures), replace(history, busy_since=None))


def cause_of(ending: Ending) -> FatalError:
    """Why a worker could not start or stay, as the termination message says it."""
    known = _known(ending)
    when = "soon after it became ready" if ending.was_ready else "while loading the model"
    if ending.fatal is not None:
        fatal = ending.fatal
        reason, hint = Reason(fatal.reason), fatal.hint
        if reason is Reason.MODEL_LOAD_FAILED and known is not nrt.UNKNOWN:
            reason, hint = known.reason, known.hint
        return FatalError(reason, fatal.message, hint=hint, details=dict(fatal.details))
    if known is not nrt.UNKNOWN:
        told = ending.killed_for or known.name
        return FatalError(known.reason, f"the worker ended {when}: {told}", hint=known.hint)
    if ending.exit_code == -signal.SIGKILL and ending.hung is None and ending.killed_for is None:
        return FatalError(
            Reason.OUT_OF_MEMORY,
            f"the worker was killed (SIGKILL) {when}, most likely by the kernel for lack of memory",
            hint="raise the container's memory limit, or serve on fewer cores: each worker loads the model once",
        )
    last = f"; its last line was: {ending.last_lines[-1][:300]}" if ending.last_lines else ""
    return FatalError(
        Reason.MODEL_LOAD_FAILED,
        f"the worker ended {when} ({ending.how}){last}",
        hint="see the container's log for what the program or the Neuron runtime printed",
    )


def _known(ending: Ending) -> nrt.NrtError:
    """The Neuron runtime's error behind it. Where the worker names none, the native runtime's log lines may: it prints
    its status there and raises something vaguer."""
    if ending.fatal is not None:
        if "nrtStatus" in ending.fatal.details:
            return nrt.by_name(ending.fatal.details["nrtStatus"])
        if ending.fatal.reason != Reason.MODEL_LOAD_FAILED:
            return nrt.UNKNOWN
    if ending.killed_for is not None:
        return nrt.classify(ending.killed_for)
    return nrt.classify("\n".join(ending.last_lines))


def _signal_name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:  # real-time signals but the first and last have no name
        return f"signal {number}"


def _pause(failures: int) -> float:
    return min(LONGEST_PAUSE_SECONDS, FIRST_PAUSE_SECONDS * 2.0 ** (failures - 1))
