"""The table of `supervision`, row by row."""

import pytest

from neuron_runtime.messages import Fatal
from neuron_runtime.supervision import Ending, Exit, GiveUp, History, Restart, Surroundings, cause_of, next_step

NOBODY = Surroundings(was_any_ready=False, is_any_ready=False, other_cores=0)
ALONE_NOW = Surroundings(was_any_ready=True, is_any_ready=False, other_cores=0)
IN_COMPANY = Surroundings(was_any_ready=True, is_any_ready=True, other_cores=1)


def ending(
    exit_code: int = 1,
    *,
    was_ready: bool = False,
    fatal: str = "",
    hung: str | None = None,
    lines: tuple[str, ...] = (),
) -> Ending:
    told = Fatal(fatal, "what", "next") if fatal else None
    return Ending(exit_code, was_ready, told, hung, lines)


@pytest.mark.parametrize(
    ("ended", "history", "around", "expected"),
    [
        pytest.param(ending(-9, was_ready=True), History(), ALONE_NOW, Restart, id="killed while serving"),
        pytest.param(ending(fatal="ModelLoadFailed"), History(), NOBODY, "ModelLoadFailed", id="cannot load"),
        pytest.param(ending(fatal="NeuronCoresBusy"), History(), NOBODY, Restart, id="busy at first"),
        pytest.param(ending(fatal="NeuronCoresBusy"), History(8, 96.9), NOBODY, "NeuronCoresBusy", id="busy for 3 s"),
        pytest.param(ending(fatal="NeuronCoresBusy"), History(8, 97.1), NOBODY, Restart, id="busy for less"),
        pytest.param(ending(-11), History(1), NOBODY, Restart, id="crashed while loading"),
        pytest.param(ending(-11), History(2), NOBODY, "ModelLoadFailed", id="crashed three times"),
        pytest.param(ending(-9), History(2), NOBODY, "OutOfMemory", id="killed three times"),
        pytest.param(ending(fatal="ModelLoadFailed"), History(9), IN_COMPANY, Restart, id="a replacement fails"),
        pytest.param(ending(fatal="ModelLoadFailed"), History(4), ALONE_NOW, "ModelLoadFailed", id="all are gone"),
        pytest.param(ending(fatal="HardwareError"), History(), IN_COMPANY, GiveUp, id="device broken, others live"),
        pytest.param(ending(fatal="HardwareError"), History(), ALONE_NOW, "HardwareError", id="the last one broke"),
    ],
)
def test_next_step(ended: Ending, history: History, around: Surroundings, expected: type | str) -> None:
    step = next_step(ended, history, around, now=100.0)

    assert (step.error.reason if isinstance(step, Exit) else type(step)) == expected


def test_pauses_double_up_to_a_limit() -> None:
    history, pauses = History(), []
    for _ in range(8):
        step = next_step(ending(fatal="ModelLoadFailed"), history, IN_COMPANY, now=0)
        assert isinstance(step, Restart)
        history = step.history
        pauses.append(step.after_seconds)

    assert pauses == [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 5.0, 5.0]


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        pytest.param(
            ending(
                lines=("NRT:nrt_allocate_neuron_cores  NeuronCore(s) not available - Requested:nc0-nc0 Available:0",)
            ),
            "NeuronCoresBusy",
            id="only the runtime's log line tells",
        ),
        pytest.param(
            ending(fatal="ModelLoadFailed", lines=("nrt_load failed: NRT_UNSUPPORTED_NEFF_VERSION",)),
            "CompilerVersionMismatch",
            id="the log line knows better than the exception",
        ),
        pytest.param(
            ending(-9, hung="loading"), "ModelLoadFailed", id="our own kill of a hung one is no lack of memory"
        ),
    ],
)
def test_causes(ended: Ending, reason: str) -> None:
    assert cause_of(ended).reason == reason


def test_how_a_life_ended_in_words() -> None:
    assert [ending(-9).how, ending(3).how, ending(-9, hung="idle").how] == [
        "killed by SIGKILL",
        "exit code 3",
        "hung while idle",
    ]
