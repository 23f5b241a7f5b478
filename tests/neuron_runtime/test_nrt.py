"""Error texts as they were seen in the field, and what they are taken for."""

import pytest

from neuron_runtime.nrt import BY_CODE, BY_NAME, UNKNOWN, Action, by_name, classify
from neuron_runtime.termination import Reason


@pytest.mark.parametrize(
    ("text", "name", "action"),
    [
        (
            "NRT:nrt_allocate_neuron_cores  NeuronCore(s) not available - Requested:nc1-nc1 Available:0",
            "NeuronCore(s) not available",
            Action.RESTART,
        ),
        ("RuntimeError: nrt_execute failed: status=1005", "NRT_EXEC_NC_BUSY", Action.RETRY),
        (
            "The PyTorch Neuron Runtime could not be initialized. [NRT_FAILURE in nrt_init() status=1] "
            "NRT:nrt_allocate_neuron_cores               NeuronCore(s) not available - Requested:nc0-nc1 Available:1",
            "NeuronCore(s) not available",
            Action.RESTART,
        ),
        ("Could not load the model status=4 message=Allocation Failure", "NRT_RESOURCE", Action.RESTART),
        ("nrt_load_from_model returned 10", "NRT_UNSUPPORTED_NEFF_VERSION", Action.EXIT),
        ("execution failed: NRT_EXEC_HW_ERR_NC_UE", "NRT_EXEC_HW_ERR_NC_UE", Action.GIVE_UP),
        ("status code 1006", "NRT_EXEC_OOB", Action.REFUSE),
        ("Unknown builtin op: neuron::forward_1", "Unknown builtin op: neuron", Action.EXIT),
        ("index out of range in self", "unknown", Action.FAIL),
        ("the text of 1005 words", "unknown", Action.FAIL),
    ],
)
def test_classify(text: str, name: str, action: Action) -> None:
    row = classify(text)

    assert (row.name, row.action) == (name, action)


def test_every_row_says_what_to_do() -> None:
    assert all(row.hint and row.name.startswith("NRT_") for row in BY_CODE.values())


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (4, Reason.OUT_OF_DEVICE_MEMORY),
        (11, Reason.OUT_OF_MEMORY),
        (6, Reason.HARDWARE_ERROR),
        (10, Reason.COMPILER_VERSION_MISMATCH),
    ],
)
def test_a_load_error_has_the_reason_the_operator_shows(status: int, reason: Reason) -> None:
    assert classify(f"nrt_load failed: status={status}").reason is reason


def test_every_row_is_found_again_by_its_name() -> None:
    assert all(by_name(name) is row for name, row in BY_NAME.items())
    assert by_name("NRT_OF_A_LATER_RELEASE") is UNKNOWN


def test_a_broken_core_is_never_told_as_anything_but_a_hardware_error() -> None:
    given_up = [row for row in BY_CODE.values() if row.action is Action.GIVE_UP]
    assert {row.reason for row in given_up} == {Reason.HARDWARE_ERROR}
