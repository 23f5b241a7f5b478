"""Builds the Events that tell of a model's transitions. Pure.

One Event per change of the Ready condition's status or reason, never per reconcile. The name is made of what it says,
so that the same Event posted twice is one Event with a count, also after a restart of the operator.
"""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, Final

from neuron_operator import names
from neuron_operator.api.conditions import ConditionType
from neuron_operator.changes import desired_hash

Body = dict[str, Any]
REPORTING_CONTROLLER: Final = "neuron-serving"
LONGEST_NOTE: Final = 1024
LONGEST_NAME: Final = 253


def transition_event(
    model: Mapping[str, Any], before: Mapping[str, Any], after: Mapping[str, Any], instance: str, now: datetime
) -> Body | None:
    """The Event for the step from one status to the next; None when Ready says the same as it did."""
    old, new = _ready(before), _ready(after)
    if (old.get("status"), old.get("reason")) == (new["status"], new["reason"]):
        return None
    metadata = model["metadata"]
    said = desired_hash([metadata["uid"], new["reason"], new["message"]])
    return {
        "apiVersion": "events.k8s.io/v1",
        "kind": "Event",
        "metadata": {
            "name": f"{metadata['name'][: LONGEST_NAME - len(said) - 1]}.{said}",
            "namespace": metadata["namespace"],
        },
        "eventTime": now.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z"),
        "type": "Warning" if _is_warning(new, after) else "Normal",
        "reason": new["reason"],
        "action": "Reconcile",
        "note": new["message"][:LONGEST_NOTE],
        "regarding": {
            "apiVersion": names.API_VERSION,
            "kind": names.KIND,
            "name": metadata["name"],
            "namespace": metadata["namespace"],
            "uid": metadata["uid"],
        },
        "reportingController": REPORTING_CONTROLLER,
        "reportingInstance": instance or REPORTING_CONTROLLER,
    }


def _ready(status: Mapping[str, Any]) -> Mapping[str, Any]:
    found = (c for c in status.get("conditions", ()) if c["type"] == ConditionType.READY)
    return next(found, {})


def _is_warning(ready: Mapping[str, Any], status: Mapping[str, Any]) -> bool:
    return bool(ready["status"] == "False" and ready["reason"] != "Progressing")
