"""Decides when the operator stops forcing a field that somebody else keeps taking back, and finds who that is. Pure.

`writes.py` asks before it applies and tells after it has. Also finds the autoscalers that aim at a Deployment of ours,
the most common party to such a fight.
"""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any, Final, NamedTuple

from neuron_operator import names
from neuron_operator.changes import Change, differences, leads_into, without_fields
from neuron_operator.indices import Key
from neuron_operator.plan import controller_of

Body = Mapping[str, Any]

REPAIRS: Final = 5
WINDOW: Final = timedelta(minutes=10)
CONFLICTS_TOLD: Final = 3
# An owner that is taken off a child is repaired by adoption, before anything else of the child is compared.
PATH_OWNERS: Final = "metadata.ownerReferences"
PATH_REPLICAS: Final = "spec.replicas"


class Field(NamedTuple):
    """One leaf of one child of a model."""

    kind: str
    name: str
    path: str


@dataclass(frozen=True)
class Owner:
    """Who has a field by the managedFields: the manager in words, empty when they name nobody.

    `is_admission`: the field is ours and still not as we wrote it, so something changes it on the way in.
    """

    manager: str = ""
    is_admission: bool = False


@dataclass(frozen=True)
class Conflict:
    """A field that is left to its owner until a moment, or until the spec changes."""

    field: Field
    owner: Owner
    until: datetime


@dataclass
class _Record:
    """What is known of one model's fights; `applied` is the hash of what was last written to each child."""

    generation: int
    latest: datetime
    applied: dict[tuple[str, str], str] = field(default_factory=dict)
    repairs: dict[Field, list[datetime]] = field(default_factory=dict)
    conflicts: dict[Field, Conflict] = field(default_factory=dict)

    def forget_before(self, now: datetime) -> None:
        for over in [at for at, conflict in self.conflicts.items() if conflict.until <= now]:
            del self.conflicts[over]
            self.repairs.pop(over, None)
        recent = {at: [when for when in times if when > now - WINDOW] for at, times in self.repairs.items()}
        self.repairs = {at: times for at, times in recent.items() if times}


class Contention:
    """The fields that were repaired lately, by model; a model that is quiet for the window is forgotten.

    | the field                                                          | what is done             |
    |--------------------------------------------------------------------|--------------------------|
    | differs since what we want of its child changed                    | written, not counted     |
    | was taken back, and repaired fewer than 5 times within 10 minutes  | written, counted         |
    | was taken back once more                                           | left for 10 minutes      |
    | is left, and the spec's generation changes or the time is over     | as if nothing had been   |
    """

    def __init__(self) -> None:
        # In the order of their latest fights, so that what is too old is at the front.
        self._records: dict[Key, _Record] = {}

    def lost(self, key: Key, generation: int, change: Change, now: datetime) -> tuple[Field, ...]:
        """The fields that the change would repair once too often."""
        record = self._record(key, generation, now)
        if record is None or not _is_taken_back(record, change):
            return ()
        fields = _fields(change)
        return tuple(f for f in fields if f not in record.conflicts and len(record.repairs.get(f, ())) >= REPAIRS)

    def give_up(self, key: Key, lost: Field, owner: Owner, now: datetime) -> None:
        """Leave the field to its owner from now on."""
        record = self._records[key]
        record.conflicts[lost] = Conflict(lost, owner, now + WINDOW)
        record.latest = now
        self._records[key] = self._records.pop(key)

    def spare(self, key: Key, change: Change) -> Change | None:
        """The change less what is left to others; None when nothing remains to be written."""
        record = self._records.get(key)
        if record is None or change.live is None:
            return change
        disputed = {f.path: record.conflicts[f] for f in record.conflicts if f[:2] == _child(change.body)}
        if not disputed or PATH_OWNERS in change.paths:
            return change if PATH_OWNERS not in disputed else None
        # What admission changes is written as ever: leaving it out would remove a field that is still ours.
        released = [path for path, conflict in disputed.items() if not conflict.owner.is_admission]
        paths = tuple(differences(without_fields(change.body, disputed), change.live))
        return Change(without_fields(change.body, released), change.live, paths) if paths else None

    def repaired(self, key: Key, generation: int, change: Change, now: datetime) -> None:
        """The change was written."""
        if change.live is None:
            return
        record = self._record(key, generation, now) or _Record(generation, now)
        if _is_taken_back(record, change):
            for repaired in _fields(change):
                record.repairs.setdefault(repaired, []).append(now)
        record.applied[_child(change.body)] = _hash(change.body)
        record.latest = now
        self._records.pop(key, None)
        self._records[key] = record
        self._forget_quiet(now)

    def conflicts(self, key: Key, generation: int, now: datetime) -> tuple[Conflict, ...]:
        """What is left to others now, in a stable order."""
        record = self._record(key, generation, now)
        return tuple(record.conflicts[at] for at in sorted(record.conflicts)) if record is not None else ()

    def forget(self, key: Key) -> None:
        """The model is gone."""
        self._records.pop(key, None)

    @property
    def size(self) -> int:
        """Models that anything is remembered of."""
        return len(self._records)

    def _record(self, key: Key, generation: int, now: datetime) -> _Record | None:
        record = self._records.get(key)
        if record is None:
            return None
        if record.generation != generation or record.latest + WINDOW <= now:
            del self._records[key]
            return None
        record.forget_before(now)
        return record

    def _forget_quiet(self, now: datetime) -> None:
        while (oldest := next(iter(self._records))) and self._records[oldest].latest + WINDOW <= now:
            del self._records[oldest]


def owner_of(live: Body, path: str) -> Owner:
    """Who wrote the field last, from an object as the API server gives it, with its managedFields."""
    entries = [entry for entry in live["metadata"].get("managedFields", ()) if _owns(entry, path)]
    others = [entry for entry in entries if entry.get("manager") != names.FIELD_MANAGER]
    if others:
        return Owner(_in_words(max(others, key=lambda entry: str(entry.get("time", "")))))
    return Owner(is_admission=bool(entries))


def conflict_message(conflicts: Sequence[Conflict]) -> str:
    """Which fields of which children are left to whom, and what to do about it."""
    told = "; ".join(_sentence(conflict) for conflict in conflicts[:CONFLICTS_TOLD])
    more = f"; and {len(conflicts) - CONFLICTS_TOLD} more" if len(conflicts) > CONFLICTS_TOLD else ""
    scale = " Scale the NeuronModel instead." if any(c.field.path == PATH_REPLICAS for c in conflicts) else ""
    return (
        f"{told}{more}. After {REPAIRS} repairs it is left as it is; every other field is still kept. "
        f"Stop the other side from writing it.{scale} It is tried again {int(WINDOW.total_seconds() / 60)} minutes "
        "later, or when the spec changes."
    )


def conflicting_autoscalers(deployment: Body | None, autoscalers: Sequence[Body]) -> tuple[str, ...]:
    """HorizontalPodAutoscalers that aim at the Deployment, in words; one that isn't a model's is nobody's business."""
    owner = controller_of(deployment) if deployment is not None else None
    if deployment is None or owner is None or owner["kind"] != names.KIND:
        return ()
    wanted = ("apps", "Deployment", deployment["metadata"]["name"])
    return tuple(_autoscaler(body) for body in autoscalers if _target(body) == wanted)


def autoscaler_message(autoscalers: Sequence[str], model_name: str) -> str:
    """Which autoscaler aims wrong, and where it should aim."""
    verb = "aim" if len(autoscalers) > 1 else "aims"
    return (
        f"{', '.join(autoscalers)} {verb} at Deployment {model_name}, whose replicas the operator sets from the "
        f"NeuronModel. Set scaleTargetRef to apiVersion {names.API_VERSION}, kind {names.KIND}, name {model_name}."
    )


def _is_taken_back(record: _Record, change: Change) -> bool:
    """Whether it differs although we want what we wanted; taken for granted where the hash itself is disputed."""
    if change.live is None:
        return False
    wanted = _hash(change.body)
    return not wanted or wanted in (_hash(change.live), record.applied.get(_child(change.body)))


def _child(body: Body) -> tuple[str, str]:
    return str(body["kind"]), str(body["metadata"]["name"])


def _hash(body: Body) -> str:
    return str(body["metadata"].get("annotations", {}).get(names.ANNOTATION_DESIRED_HASH, ""))


def _fields(change: Change) -> tuple[Field, ...]:
    return tuple(Field(*_child(change.body), path) for path in change.paths)


def _owns(entry: Body, path: str) -> bool:
    return any(
        owned == path if is_container else leads_into(path, owned) or leads_into(owned, path)
        for owned, is_container in _owned(entry.get("fieldsV1", {}))
    )


def _owned(tree: Body, here: str = "") -> Iterator[tuple[str, bool]]:
    """The paths in a fieldsV1 tree, written as `changes` writes them, and whether only the container is meant."""
    for key, below in tree.items():
        what, _, part = key.partition(":")
        if what == ".":
            yield here, True
            continue
        if what == "f":
            path = f"{here}.{part}" if here else part
        else:
            path = f"{here}[{','.join(str(value) for value in json.loads(part).values())}]" if what == "k" else here
        if below:
            yield from _owned(below, path)
        else:
            yield path, False


def _in_words(entry: Body) -> str:
    """A client without a name of its own leaves none."""
    through, manager = entry.get("subresource"), str(entry.get("manager") or "a client without a name")
    return f"{manager} (through {through})" if through else manager


def _sentence(conflict: Conflict) -> str:
    kind, name, path = conflict.field
    if conflict.owner.is_admission:
        return f"Admission (a webhook or policy) changes {path} of {kind} {name} whenever it is written"
    who = conflict.owner.manager or "Somebody whom managedFields do not name"
    return f"{who} keeps taking back {path} of {kind} {name}"


def _target(autoscaler: Body) -> tuple[str, str, str]:
    target = autoscaler.get("spec", {}).get("scaleTargetRef", {})
    return target.get("apiVersion", "").partition("/")[0], target.get("kind", ""), target.get("name", "")


def _autoscaler(body: Body) -> str:
    owner = controller_of(body)
    made_by = f" (made by {owner['kind']} {owner['name']})" if owner is not None else ""
    return f"HorizontalPodAutoscaler {body['metadata']['name']}{made_by}"
