"""Which children must be written: compares what is wanted with what is there, leaf by leaf. Pure.

`plan.py` calls it before anything is applied, so that a settled cluster sees no write at all, not even one that changes
nothing. What we do not render is not looked at, so it is left alone.
"""

import functools
import hashlib
import json
import marshal
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from typing import Any, Final

from neuron_operator.names import ANNOTATION_DESIRED_HASH

Body = dict[str, Any]
HASH_LENGTH: Final = 16
# What is wanted of a new model's children is the same at each of the looks at it, which come within seconds.
HASHES_KEPT: Final = 1024

# Lists that the API server merges by key instead of replacing them; items are found by these fields.
LIST_KEYS: Final[Mapping[str, tuple[str, ...]]] = {
    "containers": ("name",),
    "initContainers": ("name",),
    "env": ("name",),
    "volumes": ("name",),
    "volumeMounts": ("mountPath",),
    "imagePullSecrets": ("name",),
    "ownerReferences": ("uid",),
    "topologySpreadConstraints": ("topologyKey", "whenUnsatisfiable"),
}
# Maps that server-side apply takes or leaves as a whole.
ATOMIC_MAPS: Final = frozenset(
    {
        "configMapKeyRef", "fieldRef", "labelSelector", "nodeSelector", "resourceFieldRef", "secretKeyRef", "selector",
        "requiredDuringSchedulingIgnoredDuringExecution",
    }
)  # fmt: skip
# Of these, what somebody adds is a difference too. The others get defaults: the version of a field, the divisor.
EXACT_MAPS: Final = (ATOMIC_MAPS | {"matchLabels"}) - {"fieldRef", "resourceFieldRef"}
# Whose keys are the user's, not names of fields: none means something else, and an empty value is one.
FREE_MAPS: Final = frozenset({"annotations", "labels", "matchLabels", "nodeSelector"})
PORT_KEYS: Final = (("containerPort", "protocol"), ("port", "protocol"))
QUANTITIES: Final = frozenset({"requests", "limits", "sizeLimit", "divisor"})
# Plain Go values with omitempty: the API server drops a zero, so a zero of ours is there when the field is missing.
DROPPED_WHEN_ZERO: Final = frozenset(
    {
        "hostIPC", "hostNetwork", "hostPID", "initialDelaySeconds", "minReadySeconds", "paused",
        "publishNotReadyAddresses", "readOnly", "stdin", "stdinOnce", "tty",
    }
)  # fmt: skip
# An empty object that means something by being there.
KEPT_WHEN_EMPTY: Final = frozenset({"emptyDir"})
QUANTITY: Final = re.compile(r"([-+]?[0-9.]+(?:[eE][-+]?[0-9]+)?)([a-zA-Z]*)")
SUFFIXES: Final = {
    "n": Decimal("1e-9"), "u": Decimal("1e-6"), "m": Decimal("1e-3"), "": Decimal(1),
    **{suffix: Decimal(1000) ** power for power, suffix in enumerate("kMGTPE", start=1)},
    **{f"{suffix}i": Decimal(1024) ** power for power, suffix in enumerate("KMGTPE", start=1)},
}  # fmt: skip


@dataclass(frozen=True)
class Change:
    """One object to apply, and the paths that made it necessary; empty when it doesn't exist yet."""

    body: Body
    live: Body | None
    paths: tuple[str, ...]


def with_desired_hash(body: Body) -> Body:
    """`body` with the hash of itself in an annotation: it tells a field we stopped rendering from one we never did."""
    metadata = body["metadata"]
    # As version 2, which is the same bytes for the same content, wherever its parts are used besides.
    annotations = {**metadata.get("annotations", {}), ANNOTATION_DESIRED_HASH: _hash_of(marshal.dumps(body, 2))}
    return {**body, "metadata": {**metadata, "annotations": annotations}}


def desired_hash(value: object) -> str:
    """A short hash that does not depend on the order of keys."""
    canonical = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()[:HASH_LENGTH]


@functools.lru_cache(maxsize=HASHES_KEPT)
def _hash_of(packed: bytes) -> str:
    return desired_hash(marshal.loads(packed))  # noqa: S302 - packed above, never from outside


def change_to(desired: Body, live: Body | None) -> Change | None:
    """What must be applied so that `live` becomes `desired`; None when nothing must."""
    if live is None:
        return Change(desired, None, ())
    paths = tuple(differences(desired, live))
    return Change(desired, live, paths) if paths else None


def differences(desired: Mapping[str, Any], live: Mapping[str, Any], path: str = "") -> Iterator[str]:
    """Paths of the leaves of `desired` that `live` lacks or has otherwise."""
    for name, wanted in desired.items():
        here = f"{path}.{name}" if path else name
        if name not in live:
            if not _means_absent(name, wanted):
                yield here
        else:
            yield from _differences_of(name, wanted, live[name], here)


def _differences_of(name: str, wanted: Any, found: Any, path: str) -> Iterator[str]:
    if wanted == found:
        # Most of what is compared at each look, and compared like this in a fraction of the time.
        return
    if name in QUANTITIES and not isinstance(wanted, dict):
        if parse_quantity(wanted) != parse_quantity(found):
            yield path
    elif isinstance(wanted, dict) and isinstance(found, dict):
        if name in EXACT_MAPS and set(found) - set(wanted):
            yield path
        elif name in FREE_MAPS:
            yield from (f"{path}.{key}" for key, value in wanted.items() if found.get(key) != value)
        elif name in QUANTITIES:
            yield from _quantity_differences(wanted, found, path)
        else:
            yield from differences(wanted, found, path)
    elif isinstance(wanted, list | tuple) and isinstance(found, list):
        yield from _list_differences(name, wanted, found, path)
    else:
        yield path


def _quantity_differences(wanted: Mapping[str, Any], found: Mapping[str, Any], path: str) -> Iterator[str]:
    for resource, amount in wanted.items():
        if resource not in found or parse_quantity(amount) != parse_quantity(found[resource]):
            yield f"{path}.{resource}"


def _list_differences(name: str, wanted: Sequence[Any], found: Sequence[Any], path: str) -> Iterator[str]:
    keys = keys_of(name, wanted)
    if keys is None:
        if len(wanted) != len(found):
            yield path
            return
        for index, (one, other) in enumerate(zip(wanted, found, strict=True)):
            yield from _differences_of("", one, other, f"{path}[{index}]")
        return
    by_key = {item_key(item, keys): item for item in found}
    for item in wanted:
        key = item_key(item, keys)
        here = f"{path}[{','.join(key)}]"
        if key in by_key:
            yield from differences(item, by_key[key], here)
        else:
            yield here


def without_fields(desired: Body, paths: Collection[str]) -> Body:
    """`desired` without the fields that the paths lead to, so that applying it leaves them to whoever has them.

    Lists without keys and atomic maps go whole: server-side apply would replace what somebody else has of them. What
    is emptied goes too.
    """
    left = _without("", desired, "", paths) if paths else desired
    return left if isinstance(left, dict) else {}


def _without(name: str, value: Any, here: str, paths: Collection[str]) -> Any:
    """What is left of the value; None for nothing, which no rendered object holds."""
    if here in paths or (_is_atomic(name, value) and any(leads_into(path, here) for path in paths)):
        return None
    if isinstance(value, Mapping):
        kept = {
            key: left
            for key, item in value.items()
            if (left := _without(key, item, f"{here}.{key}" if here else key, paths)) is not None
        }
        return kept if kept or not value else None
    keys = keys_of(name, value) if isinstance(value, list | tuple) else None
    if keys is None:
        return value
    items = [_without("", item, f"{here}[{','.join(item_key(item, keys))}]", paths) for item in value]
    return [item for item in items if item is not None] or None


def leads_into(path: str, field: str) -> bool:
    """Whether the path is the field's or that of a part of it."""
    return path == field or path.startswith((f"{field}.", f"{field}["))


def _is_atomic(name: str, value: Any) -> bool:
    if isinstance(value, Mapping):
        return name in ATOMIC_MAPS
    return isinstance(value, list | tuple) and keys_of(name, value) is None


def keys_of(name: str, items: Sequence[Any]) -> tuple[str, ...] | None:
    """The fields that tell the items of a list apart; None for one that is replaced as a whole."""
    if name != "ports":
        return LIST_KEYS.get(name)
    return next((keys for keys in PORT_KEYS if all(keys[0] in item for item in items)), None)


def item_key(item: Mapping[str, Any], keys: tuple[str, ...]) -> tuple[str, ...]:
    """What tells the item from the others of its list."""
    return tuple(str(item.get(key, "TCP" if key == "protocol" else "")) for key in keys)


def _means_absent(name: str, wanted: Any) -> bool:
    if isinstance(wanted, bool | int) and not wanted:
        return name in DROPPED_WHEN_ZERO
    return not wanted and name not in KEPT_WHEN_EMPTY


def parse_quantity(text: str | int | float) -> Decimal:
    """The number a Kubernetes quantity stands for: 500m is 0.5, 1Gi is 1073741824."""
    found = QUANTITY.fullmatch(str(text))
    if found is None or found[2] not in SUFFIXES:
        raise ValueError(f"{text!r} is not a quantity")
    return Decimal(found[1]) * SUFFIXES[found[2]]
