"""The table of `supervision`, row by row."""

from collections.abc import Mapping

import pytest

from neuron_runtime.messages import Fatal
from neuron_runtime.supervision import (
    HEALTHY_SECONDS,
    Ending,
    Exit,
    GiveUp,
    History,
    Restart,
    Surroundings,
    cause_of,
    next_step,
)

STARTING = Surroundings(was_any_ready=False, is_any_ready=False, was_core_ready=False, other_cores=0)
STARTING_BESIDE = Surroundings(was_any_ready=False, is_any_ready=False, was_core_ready=False, other_cores=1)
LAST_TO_START = Surroundings(was_any_ready=True, is_any_ready=True, was_core_ready=False, other_cores=1)
ALONE_NOW = Surroundings(was_any_ready=True, is_any_ready=False, was_core_ready=True, other_cores=0)
IN_COMPANY = Surroundings(was_any_ready=True, is_any_ready=True, was_core_ready=True, other_cores=1)
BUSY_LINE = "NRT:nrt_allocate_neuron_cores               NeuronCore(s) not available - Requested:nc0-nc0 Available:0"


def told(reason: str, nrt_status: str = "") -> Fatal:
    details: Mapping[str, str] = {"nrtStatus": nrt_status} if nrt_status else {}
    return Fatal(reason, "what", "next", details)


def failed(reason: str, nrt_status: str = "") -> Ending:
    return Ending(1, told(reason, nrt_status))


BROKEN = failed("HardwareError", "NRT_EXEC_HW_ERR_NC_UE")
KILLED_IDLE = Ending(-9, ready_seconds=1.0)
KILLED_AT_WORK = Ending(-9, ready_seconds=1.0, was_running=True)


@pytest.mark.parametrize(
    ("ended", "history", "around", "expected"),
    [
        pytest.param(KILLED_IDLE, History(), ALONE_NOW, Restart, id="killed while serving"),
        pytest.param(KILLED_IDLE, History(4), ALONE_NOW, "OutOfMemory", id="killed idle, for the fifth time"),
        pytest.param(KILLED_IDLE, History(4), IN_COMPANY, Restart, id="the same while another serves"),
        pytest.param(KILLED_AT_WORK, History(99), ALONE_NOW, Restart, id="a batch may have killed it"),
        pytest.param(failed("ModelLoadFailed"), History(), STARTING, "ModelLoadFailed", id="cannot load"),
        pytest.param(failed("NeuronCoresBusy"), History(), STARTING, Restart, id="busy at first"),
        pytest.param(failed("NeuronCoresBusy"), History(8, 96.9), STARTING, "NeuronCoresBusy", id="busy for 3 s"),
        pytest.param(failed("NeuronCoresBusy"), History(8, 97.1), STARTING, Restart, id="busy for less"),
        pytest.param(
            failed("NeuronCoresBusy"), History(8, 96.9), LAST_TO_START, "NeuronCoresBusy", id="busy, others had luck"
        ),
        pytest.param(
            failed("NeuronCoresBusy"),
            History(8, 96.9),
            IN_COMPANY,
            Restart,
            id="busy with what is left of its last life",
        ),
        pytest.param(
            failed("NeuronCoresBusy"), History(8, 96.9), ALONE_NOW, "NeuronCoresBusy", id="the same, and nobody serves"
        ),
        pytest.param(Ending(-11), History(1), STARTING, Restart, id="crashed while loading"),
        pytest.param(Ending(-11), History(2), STARTING, "ModelLoadFailed", id="crashed three times"),
        pytest.param(Ending(-9), History(2), STARTING, "OutOfMemory", id="killed three times"),
        pytest.param(failed("ModelLoadFailed"), History(9), IN_COMPANY, Restart, id="a replacement fails"),
        pytest.param(failed("ModelLoadFailed"), History(4), ALONE_NOW, "ModelLoadFailed", id="all are gone"),
        pytest.param(BROKEN, History(), IN_COMPANY, GiveUp, id="device broken, others live"),
        pytest.param(BROKEN, History(), STARTING_BESIDE, GiveUp, id="device broken at start, another may work"),
        pytest.param(BROKEN, History(), ALONE_NOW, "HardwareError", id="the last one broke"),
        pytest.param(BROKEN, History(), STARTING, "HardwareError", id="the only one is broken"),
        pytest.param(
            failed("HardwareError", "NRT_TIMEOUT"), History(), IN_COMPANY, Restart, id="a timeout is no broken device"
        ),
        pytest.param(
            failed("CompilerVersionMismatch", "NRT_UNSUPPORTED_NEFF_VERSION"),
            History(),
            IN_COMPANY,
            "CompilerVersionMismatch",
            id="no core can run it",
        ),
    ],
)
def test_next_step(ended: Ending, history: History, around: Surroundings, expected: type | str) -> None:
    step = next_step(ended, history, around, now=100.0)

    assert (step.error.reason if isinstance(step, Exit) else type(step)) == expected


@pytest.mark.parametrize(
    "ended",
    [
        pytest.param(failed("ModelLoadFailed"), id="never ready"),
        pytest.param(KILLED_AT_WORK, id="ready and soon gone"),
        pytest.param(Ending(-9, ready_seconds=HEALTHY_SECONDS - 1), id="ready for almost a minute"),
    ],
)
def test_pauses_double_up_to_a_limit(ended: Ending) -> None:
    assert pauses(ended, 8) == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


def test_a_worker_that_was_well_for_a_minute_is_replaced_at_once() -> None:
    assert pauses(Ending(-9, ready_seconds=HEALTHY_SECONDS), 3) == [0.1, 0.1, 0.1]


def pauses(ended: Ending, lives: int) -> list[float]:
    history, found = History(), []
    for _ in range(lives):
        step = next_step(ended, history, IN_COMPANY, now=0)
        assert isinstance(step, Restart)
        history = step.history
        found.append(step.after_seconds)
    return found


@pytest.mark.parametrize(
    ("ended", "reason", "message"),
    [
        pytest.param(
            Ending(1, last_lines=(BUSY_LINE,)),
            "NeuronCoresBusy",
            "the worker ended while loading the model: NeuronCore(s) not available",
            id="only the runtime's log line tells",
        ),
        pytest.param(
            Ending(1, told("ModelLoadFailed"), last_lines=("nrt_load failed: NRT_UNSUPPORTED_NEFF_VERSION",)),
            "CompilerVersionMismatch",
            "what",
            id="the log line knows better than the exception",
        ),
        pytest.param(
            Ending(1, told("ModelLoadFailed", "NRT_RESOURCE"), last_lines=("status=10",)),
            "OutOfDeviceMemory",
            "what",
            id="the exception knows better than an older log line",
        ),
        pytest.param(
            Ending(-9, hung="loading"),
            "ModelLoadFailed",
            "the worker ended while loading the model (hung while loading)",
            id="our own kill of a hung one is no lack of memory",
        ),
        pytest.param(
            Ending(-9, killed_for="Failed to execute the model status=5", ready_seconds=3.0),
            "HardwareError",
            "the worker ended soon after it became ready: Failed to execute the model status=5",
            id="nor is our own kill after an error",
        ),
        pytest.param(
            Ending(-9),
            "OutOfMemory",
            "the worker was killed (SIGKILL) while loading the model, most likely by the kernel for lack of memory",
            id="somebody else's kill is",
        ),
        pytest.param(
            Ending(-11, last_lines=("Fatal Python error: Segmentation fault",)),
            "ModelLoadFailed",
            "the worker ended while loading the model (killed by SIGSEGV); its last line was: Fatal Python error: "
            "Segmentation fault",
            id="a native crash is told with its last words",
        ),
    ],
)
def test_causes(ended: Ending, reason: str, message: str) -> None:
    cause = cause_of(ended)

    assert (cause.reason, cause.message) == (reason, message)
    assert cause.hint


def test_how_a_life_ended_in_words() -> None:
    endings = [
        Ending(-9),
        Ending(3),
        Ending(-9, hung="idle"),
        Ending(-9, killed_for="status=5"),
        Ending(-6, killed_for="status=5"),
        Ending(-40),
    ]
    assert [ended.how for ended in endings] == [
        "killed by SIGKILL",
        "exit code 3",
        "hung while idle",
        "ended by the server: status=5",
        "killed by SIGABRT",
        "killed by signal 40",
    ]
