"""Each rule of the policy as a case, and what must hold for every queue."""

from dataclasses import dataclass

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_runtime.batch_policy import Idle, Slot, Take, decide
from neuron_runtime.buckets import Form

SMALL = Form(((32,),), ((1, 0), (8, 1)))
LARGE = Form(((128,),), ((4, 2),))
FORMS = (SMALL, LARGE)
BOTH, ONLY_LARGE = 0b11, 0b10


@dataclass(frozen=True)
class Request:
    name: str
    rows_waiting: int = 1
    fits: int = BOTH
    is_suspect: bool = False


def taken(
    queue: list[Request], slot: Slot = Slot.IDLE, *, suspect_running: bool = False
) -> tuple[int, list[str]] | str:
    choice = decide(queue, FORMS, slot, suspect_running=suspect_running)
    if isinstance(choice, Idle):
        return choice.reason
    return choice.bucket, [f"{request.name}{rows}" for request, rows in choice.picks]


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        pytest.param([Request("a")], (0, ["a1"]), id="a lone request takes the smallest bucket"),
        pytest.param([Request("a"), Request("b")], (1, ["a1", "b1"]), id="two share the larger one"),
        pytest.param([Request("a", 20)], (1, ["a8"]), id="too many rows are split"),
        pytest.param([Request("a", 6), Request("b", 6)], (1, ["a6", "b2"]), id="the second fills what is left"),
        pytest.param([Request("a", 1, ONLY_LARGE), Request("b")], (2, ["a1", "b1"]), id="a short one rides along"),
        pytest.param([Request("a"), Request("b", 1, ONLY_LARGE), Request("c")], (1, ["a1", "c1"]), id="misfit stays"),
        pytest.param([Request("a", 0), Request("b")], (0, ["b1"]), id="who has left is passed over"),
        pytest.param([Request("a", 9, is_suspect=True), Request("b")], (1, ["a8"]), id="a suspect runs alone"),
        pytest.param([Request("a"), Request("b", is_suspect=True)], (0, ["a1"]), id="nobody rides with a suspect"),
    ],
)
def test_an_idle_core_takes(queue: list[Request], expected: tuple[int, list[str]]) -> None:
    assert taken(queue) == expected


def test_a_busy_core_takes_only_a_full_batch() -> None:
    assert taken([Request("a", 7)], Slot.PREFETCH) == "the core is busy and the next batch is not full"
    assert taken([Request("a", 8)], Slot.PREFETCH) == (1, ["a8"])


def test_a_suspect_waits_for_an_idle_core_and_for_the_other_suspect() -> None:
    suspect = [Request("a", 8, is_suspect=True)]

    assert taken(suspect, Slot.PREFETCH) == "nothing is waiting that this worker may run"
    assert taken(suspect, suspect_running=True) == "nothing is waiting that this worker may run"
    assert taken([*suspect, Request("b")], suspect_running=True) == (0, ["b1"])


requests = st.builds(Request, st.just("r"), st.integers(0, 30), st.sampled_from([BOTH, ONLY_LARGE]), st.booleans())


@settings(max_examples=50)
@given(st.lists(requests, max_size=20), st.sampled_from(list(Slot)), st.booleans())
def test_every_choice_is_one_the_bucket_holds(queue: list[Request], slot: Slot, suspect_running: bool) -> None:
    choice = decide(queue, FORMS, slot, suspect_running=suspect_running)
    if isinstance(choice, Idle):
        startable = [r for r in queue if r.rows_waiting and not (r.is_suspect and suspect_running)]
        assert slot is Slot.PREFETCH or not startable
        return
    assert isinstance(choice, Take)
    rows = sum(rows for _, rows in choice.picks)
    sizes = {bucket: size for form in FORMS for size, bucket in form.programs}
    assert 0 < rows <= sizes[choice.bucket]
    assert all(0 < taken_rows <= request.rows_waiting for request, taken_rows in choice.picks)
    assert all(request.fits >> choice.form & 1 for request, _ in choice.picks)
    assert len(choice.picks) == 1 or not any(request.is_suspect for request, _ in choice.picks)
    first = next(
        r for r in queue if r.rows_waiting and not (r.is_suspect and (suspect_running or slot is Slot.PREFETCH))
    )
    assert choice.picks[0][0] is first, "nobody overtakes the oldest request that may run"
