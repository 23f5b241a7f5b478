"""Error texts as they were seen in the field, and what they are taken for."""

import pytest

from neuron_runtime.nrt import BY_CODE, Action, classify


@pytest.mark.parametrize(
    ("text", "name", "action"),
    [
        (
            "NRT:nrt_allocate_neuron_cores  NeuronCore(s) not available - Requested:nc1-nc1 Available:0",
            "NeuronCore(s) not available",
            Action.RESTART,
        ),
        ("RuntimeError: nrt_execute failed: status=1005", "NRT_EXEC_NC_BUSY", Action.RETRY),
        ("nrt_load_from_model returned 10", "NRT_UNSUPPORTED_NEFF_VERSION", Action.GIVE_UP),
        ("execution failed: NRT_EXEC_HW_ERR_NC_UE", "NRT_EXEC_HW_ERR_NC_UE", Action.GIVE_UP),
        ("status code 1006", "NRT_EXEC_OOB", Action.REFUSE),
        ("Unknown builtin op: neuron::forward_1", "Unknown builtin op: neuron", Action.GIVE_UP),
        ("index out of range in self", "unknown", Action.RETRY),
        ("the text of 1005 words", "unknown", Action.RETRY),
    ],
)
def test_classify(text: str, name: str, action: Action) -> None:
    row = classify(text)

    assert (row.name, row.action) == (name, action)


def test_every_row_says_what_to_do() -> None:
    assert all(row.hint and row.name.startswith("NRT_") for row in BY_CODE.values())
