"""What an apply alone can't put right, as a JSON patch: a list that has our item under another key besides, and a
choice of which somebody has set the other member. Pure.

`writes.py` asks when the API server refuses an apply: that leaves to others what they added, and the two together may
be no valid object.
"""

from collections.abc import Iterator, Mapping
from typing import Any, Final

from neuron_operator.changes import item_key, keys_of

Operation = dict[str, Any]

# Of each only one may be set.
CHOICES: Final = (
    frozenset({"maxUnavailable", "minAvailable"}),
    frozenset({"value", "valueFrom"}),
    frozenset({"configMapKeyRef", "fieldRef", "fileKeyRef", "resourceFieldRef", "secretKeyRef"}),
    frozenset({"exec", "grpc", "httpGet", "sleep", "tcpSocket"}),
)


def mending_patch(desired: Mapping[str, Any], live: Mapping[str, Any]) -> list[Operation]:
    """What brings `live` to where an apply of `desired` is valid again; nothing where it is for another reason not."""
    return list(_operations("", desired, live, ""))


def _operations(name: str, desired: Any, live: Any, pointer: str) -> Iterator[Operation]:
    if isinstance(desired, Mapping) and isinstance(live, Mapping):
        yield from _choices(name, desired, live, pointer)
        for key, wanted in desired.items():
            if key in live:
                yield from _operations(key, wanted, live[key], f"{pointer}/{_escaped(key)}")
    elif isinstance(desired, list | tuple) and isinstance(live, list) and (keys := keys_of(name, desired)) is not None:
        found = {item_key(item, keys): index for index, item in enumerate(live)}
        if any(item_key(item, keys) not in found for item in desired):
            ours = [live[found[key]] if (key := item_key(item, keys)) in found else item for item in desired]
            yield {"op": "replace", "path": pointer, "value": ours}
            return
        for item in desired:
            index = found[item_key(item, keys)]
            yield from _operations(name, item, live[index], f"{pointer}/{index}")


def _choices(name: str, desired: Mapping[str, Any], live: Mapping[str, Any], pointer: str) -> Iterator[Operation]:
    # A volume has a name and one source, of which there are some thirty kinds.
    sources = frozenset({*desired, *live} - {"name"}) if name == "volumes" else frozenset[str]()
    for members in (*CHOICES, sources):
        ours = [key for key in desired if key in members]
        theirs = [key for key in live if key in members and key not in ours]
        if ours and theirs:
            yield from ({"op": "remove", "path": f"{pointer}/{_escaped(key)}"} for key in theirs)
            missing = [key for key in ours if key not in live]
            yield from ({"op": "add", "path": f"{pointer}/{_escaped(key)}", "value": desired[key]} for key in missing)


def _escaped(key: str) -> str:
    return key.replace("~", "~0").replace("/", "~1")
