"""The single fields of a rendered child: each can be changed or taken away, and be looked for again. Pure."""

import copy
from collections.abc import Iterator
from typing import Any

Body = dict[str, Any]
PathOfLeaf = tuple[str | int, ...]
# Where a wrong value is another legal one: the API server would not take an invented word.
ALTERNATIVES = {"TCP": "UDP", "IfNotPresent": "Always", "RollingUpdate": "Recreate", "NoSchedule": "NoExecute"}
# Nobody can change these: the API server refuses each of them, whatever the value.
IDENTITY = {("apiVersion",), ("kind",), ("metadata", "name"), ("metadata", "namespace")}


def leaves(value: Any, path: PathOfLeaf = ()) -> Iterator[PathOfLeaf]:
    """Paths of the leaves; items of a list by position, which is how they are rendered and stored alike."""
    if isinstance(value, dict) and value:
        for key, item in value.items():
            yield from leaves(item, (*path, key))
    elif isinstance(value, list | tuple) and value:
        for index, item in enumerate(value):
            yield from leaves(item, (*path, index))
    else:
        yield path


def at(body: Any, path: PathOfLeaf) -> Any:
    """The value there; None where the path leads nowhere."""
    for part in path:
        try:
            body = body[part]
        except (KeyError, IndexError):
            return None
    return body


def has_leaf(path: PathOfLeaf, value: Any, body: Body) -> bool:
    """Whether the leaf is there; in a list that is merged by key, an item somebody added may stand before ours."""
    positions = [index for index, part in enumerate(path) if isinstance(part, int)]
    if at(body, path) == value or not positions:
        return bool(at(body, path) == value)
    items, rest = at(body, path[: positions[-1]]) or [], path[positions[-1] + 1 :]
    return any(at(item, rest) == value for item in items)


def mutated(value: Any) -> Any:
    """Another value of its type, which the API server takes where it can take any."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return value + 1
    return ALTERNATIVES.get(value, f"{value}x") if isinstance(value, str) else {"medium": "Memory"}


def with_leaf(body: Body, path: PathOfLeaf, value: Any) -> Body:
    """With another value there, or without the leaf if that is None."""
    changed = copy.deepcopy(body)
    parent = at(changed, path[:-1])
    if value is None:
        del parent[path[-1]]
    else:
        parent[path[-1]] = value
    return changed
