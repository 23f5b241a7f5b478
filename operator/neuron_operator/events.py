"""Builds the Events that tell of transitions, and says when a model has had enough of them. Pure.

One Event per change of the Ready condition's status or reason and one when a named condition begins to hold, never per
reconcile. The name is made of what it says, so that the same Event posted twice is one Event with a count, also after
a restart of the operator.
"""

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, Final

from neuron_operator import names
from neuron_operator.api.conditions import NAMED_CONDITIONS, ConditionType, Reason
from neuron_operator.changes import desired_hash
from neuron_operator.indices import Key

Body = dict[str, Any]
REPORTING_CONTROLLER: Final = "neuron-serving"
LONGEST_NOTE: Final = 1024
LONGEST_NAME: Final = 253
# Where the API server wants the Events about what lives in no namespace.
NAMESPACE_OF_NONE: Final = "default"
EVENTS_AT_ONCE: Final = 10
EVENT_EVERY: Final = timedelta(minutes=5)


def transition_events(
    model: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any], instance: str, now: datetime
) -> tuple[Body, ...]:
    """The Events for the step from one status to the next; none when the conditions say the same as they did."""
    return tuple(_event(model, told, kind, instance, now) for told, kind in _transitions(before, after))


class EventBudget:
    """How many Events a model may cost: ten at once, then one every five minutes. Remembers one moment per model."""

    def __init__(self) -> None:
        # When the allowance will be whole again; each Event puts it off by the time in which one is earned.
        self._whole_at: dict[Key, datetime] = {}

    def spend(self, key: Key, now: datetime) -> bool:
        """Whether one more may be posted now; counted if so."""
        whole_at = max(self._whole_at.get(key, now), now) + EVENT_EVERY
        if whole_at - now > EVENTS_AT_ONCE * EVENT_EVERY:
            return False
        self._whole_at[key] = whole_at
        return True

    def forget(self, key: Key) -> None:
        """The model is gone."""
        self._whole_at.pop(key, None)


def _transitions(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[Mapping[str, Any], str]]:
    """The conditions to tell of, each with the type of its Event."""
    for new in after.get("conditions", ()):
        old = _condition(before, new["type"])
        if new["type"] == ConditionType.READY:
            if (old.get("status"), old.get("reason")) != (new["status"], new["reason"]):
                yield new, "Warning" if new["status"] == "False" and new["reason"] != Reason.PROGRESSING else "Normal"
        elif new["type"] in NAMED_CONDITIONS and new["status"] == "True" != old.get("status"):
            yield new, "Warning"


def _event(model: Mapping[str, Any], told: Mapping[str, Any], kind: str, instance: str, now: datetime) -> Body:
    metadata = model["metadata"]
    regarding = {
        "apiVersion": names.API_VERSION,
        "kind": names.KIND,
        **{name: metadata[name] for name in ("name", "namespace", "uid")},
    }
    return event_about(regarding, told, kind, "Reconcile", instance, now)


def event_about(
    regarding: Mapping[str, Any], told: Mapping[str, Any], kind: str, action: str, instance: str, now: datetime
) -> Body:
    """An Event about any object, of a type, with a reason and a message: the same again has the same name."""
    said = desired_hash([regarding.get("uid", ""), told["reason"], told["message"]])
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{regarding['name'][: LONGEST_NAME - len(said) - 1]}.{said}",
            "namespace": regarding.get("namespace") or NAMESPACE_OF_NONE,
        },
        "eventTime": now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": kind,
        "reason": told["reason"],
        "action": action,
        "note": told["message"][:LONGEST_NOTE],
        "regarding": dict(regarding),
        "reportingController": REPORTING_CONTROLLER,
        "reportingInstance": instance or REPORTING_CONTROLLER,
    }


def _condition(status: Mapping[str, Any], kind: str) -> Mapping[str, Any]:
    found = (c for c in status.get("conditions", ()) if c["type"] == kind)
    return next(found, {})
