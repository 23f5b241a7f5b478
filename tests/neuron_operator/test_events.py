"""One Event per transition, named after what it says."""

from datetime import UTC, datetime
from typing import Any

import pytest

from model_builders import UID, model_body
from neuron_operator.events import transition_event

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def status(ready: str, reason: str, message: str = "words") -> dict[str, Any]:
    return {"conditions": [{"type": "Ready", "status": ready, "reason": reason, "message": message}]}


def event(before: dict[str, Any], after: dict[str, Any], name: str = "sentiment") -> Any:
    return transition_event(model_body(name), before, after, "operator-1", NOW)


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
