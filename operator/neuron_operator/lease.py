"""Who may lead, by the Lease that all replicas share: what to do about it as it was last read. Pure.

`elector.py` reads the Lease, asks here, and writes. Moments are seconds of the asking process's own clock, compared
only with each other: the times in a Lease are for people, because two machines' clocks agree on nothing.

| the Lease as last read                                             | what to do                        |
|--------------------------------------------------------------------|-----------------------------------|
| there is none                                                      | create it                         |
| held by us                                                         | renew it                          |
| held by nobody: released                                           | take it over                      |
| held by another, unchanged for as long as its own duration says    | take it over                      |
| held by another, changed since                                     | wait for the rest of its duration |
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any, Final

from neuron_operator import names

Body = dict[str, Any]

# The holder stops writing this long before another may start: time for what it has sent to arrive, and lose.
DURATION_S: Final = 7
RENEW_DEADLINE_S: Final = 5.0
RETRY_S: Final = 1.0
RELEASED_DURATION_S: Final = 1


class Step(Enum):
    CREATE = "create"
    TAKE_OVER = "take over"
    RENEW = "renew"
    WAIT = "wait"


@dataclass(frozen=True)
class Sighting:
    """The Lease as last read, None where there is none, and since when it has said the same."""

    lease: Body | None
    since_s: float


@dataclass(frozen=True)
class Decision:
    """What to do now, why, and how long to wait before looking again."""

    step: Step
    reason: str
    look_again_s: float = RETRY_S


def sighting(before: Sighting | None, lease: Body | None, now_s: float) -> Sighting:
    """What was read now, and since when that is so: an edit of a label, say, is no sign of life of the holder."""
    if before is not None and before.lease is not None and lease is not None and _spec(before.lease) == _spec(lease):
        return Sighting(lease, before.since_s)
    return Sighting(lease, now_s)


def decide(seen: Sighting, identity: str, now_s: float) -> Decision:
    if seen.lease is None:
        return Decision(Step.CREATE, "there is no lease yet")
    holder = holder_of(seen.lease)
    if holder == identity:
        return Decision(Step.RENEW, "it is ours")
    if not holder:
        return Decision(Step.TAKE_OVER, "it was released")
    left_s = seen.since_s + _spec(seen.lease).get("leaseDurationSeconds", DURATION_S) - now_s
    if left_s <= 0:
        return Decision(Step.TAKE_OVER, f"{holder} has not renewed it")
    return Decision(Step.WAIT, f"{holder} leads", min(left_s, RETRY_S))


def held_lease(before: Body | None, identity: str, namespace: str, now: datetime) -> Body:
    """The Lease with us as its holder: a new one, or `before` renewed or taken over."""
    lease = before or {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": names.LEASE_NAME, "namespace": namespace},
    }
    spec, metadata, time = _spec(lease), lease["metadata"], _micro_time(now)
    is_ours = spec.get("holderIdentity") == identity
    return {
        **lease,
        "metadata": {**metadata, "labels": {**metadata.get("labels", {}), names.LABEL_ELECTOR: names.ELECTOR}},
        "spec": {
            **spec,
            "holderIdentity": identity,
            "leaseDurationSeconds": DURATION_S,
            "acquireTime": spec.get("acquireTime", time) if is_ours else time,
            "renewTime": time,
            "leaseTransitions": spec.get("leaseTransitions", 0) + (0 if is_ours or before is None else 1),
        },
    }


def released_lease(lease: Body, now: datetime) -> Body:
    """Ours no more: whoever reads it next may take it."""
    ended = {"holderIdentity": "", "leaseDurationSeconds": RELEASED_DURATION_S, "renewTime": _micro_time(now)}
    return {**lease, "spec": {**_spec(lease), **ended}}


def holder_of(lease: Mapping[str, Any]) -> str:
    """Whose it is; empty where nobody's."""
    return str(_spec(lease).get("holderIdentity", ""))


def _spec(lease: Mapping[str, Any]) -> Mapping[str, Any]:
    spec: Mapping[str, Any] = lease.get("spec") or {}
    return spec


def _micro_time(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
