"""One Event per transition, named after what it says, and not too many of them."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model_builders import UID, model_body
from neuron_operator.events import EVENT_EVERY, EVENTS_AT_ONCE, EventBudget, transition_events
from neuron_operator.indices import Key

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def status(ready: str, reason: str, message: str = "words") -> dict[str, Any]:
    return {"conditions": [{"type": "Ready", "status": ready, "reason": reason, "message": message}]}


def events(before: dict[str, Any], after: dict[str, Any], name: str = "sentiment") -> tuple[Any, ...]:
    return transition_events(model_body(name), before, after, "operator-1", NOW)


def event(before: dict[str, Any], after: dict[str, Any], name: str = "sentiment") -> Any:
    return next(iter(events(before, after, name)), None)


@pytest.mark.parametrize(
    ("before", "after", "kind"),
    [
        pytest.param({}, status("False", "Progressing"), "Normal", id="first"),
        pytest.param(status("False", "Progressing"), status("True", "Serving"), "Normal", id="serving"),
        pytest.param(status("True", "Serving"), status("False", "CrashLoop"), "Warning", id="failing"),
        pytest.param(status("False", "CrashLoop"), status("False", "OutOfMemory"), "Warning", id="other-reason"),
        pytest.param(status("False", "CrashLoop", "a"), status("False", "CrashLoop", "b"), None, id="only-other-words"),
        pytest.param(status("True", "Serving"), status("True", "Serving"), None, id="nothing"),
    ],
)
def test_an_event_tells_of_a_transition_and_of_nothing_else(before: Any, after: Any, kind: str | None) -> None:
    assert (event(before, after) or {}).get("type") == kind


def test_an_event_is_about_the_model_and_from_us() -> None:
    found = event({}, status("False", "CrashLoop", "x" * 5000))
    assert found["regarding"]["uid"] == UID
    assert found["reportingController"] == "neuron-serving"
    assert (found["reason"], len(found["note"])) == ("CrashLoop", 1024)
    assert found["eventTime"] == "2026-01-01T00:00:00.000000Z"


def test_the_same_words_make_the_same_name_and_others_another() -> None:
    one, two, other = (event({}, status("False", "CrashLoop", words)) for words in ("a", "a", "b"))
    assert one["metadata"]["name"] == two["metadata"]["name"] != other["metadata"]["name"]
    assert len(event({}, status("False", "CrashLoop"), "m" * 52)["metadata"]["name"]) <= 253


def with_conflict(*statuses: str) -> dict[str, Any]:
    told = [{"type": "ChildConflict", "status": s, "reason": "ChildConflict", "message": "words"} for s in statuses]
    return {"conditions": [*status("True", "Serving")["conditions"], *told]}


@pytest.mark.parametrize(
    ("before", "after", "reasons"),
    [
        pytest.param(with_conflict(), with_conflict("True"), ["ChildConflict"], id="begins"),
        pytest.param(with_conflict("True"), with_conflict("True"), [], id="goes-on"),
        pytest.param(with_conflict("True"), with_conflict(), [], id="ends"),
        pytest.param(status("False", "CrashLoop"), with_conflict("True"), ["Serving", "ChildConflict"], id="both"),
    ],
)
def test_a_named_condition_is_told_of_when_it_begins(before: Any, after: Any, reasons: list[str]) -> None:
    told = events(before, after)
    assert [found["reason"] for found in told] == reasons
    assert all(found["type"] == "Warning" for found in told if found["reason"] == "ChildConflict")


KEY, OTHER = Key("shop", "sentiment"), Key("shop", "other")


def test_ten_events_at_once_then_one_every_five_minutes_for_each_model_alone() -> None:
    budget = EventBudget()
    assert [budget.spend(KEY, NOW) for _ in range(EVENTS_AT_ONCE + 2)] == [True] * 10 + [False] * 2
    assert budget.spend(OTHER, NOW)
    later = NOW + EVENT_EVERY
    assert [budget.spend(KEY, later - timedelta(seconds=1)), budget.spend(KEY, later), budget.spend(KEY, later)] == [
        False,
        True,
        False,
    ]
    budget.forget(KEY)
    assert budget.spend(KEY, later)


@settings(max_examples=100)
@given(st.lists(st.integers(0, 900), max_size=80))
def test_never_more_events_than_were_earned(pauses_s: list[int]) -> None:
    budget, now = EventBudget(), NOW
    posted = []
    for pause_s in pauses_s:
        now += timedelta(seconds=pause_s)
        if budget.spend(KEY, now):
            posted.append(now)
    for index, first in enumerate(posted):
        for count, last in enumerate(posted[index:], start=1):
            assert count <= EVENTS_AT_ONCE + (last - first) / EVENT_EVERY
