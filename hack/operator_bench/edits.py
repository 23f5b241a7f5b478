"""Breaks the children of settled models, one field or one object at a time, and times how soon they are as they were.

It counts from the API server's answer until a watch shows the repaired object. What the API server refuses, or stores
as it was, can't be broken. Called by the figure `repair`.
"""

import time
from dataclasses import dataclass
from functools import partial

from bench.errors import BenchError
from local_control_plane.client import Client, RefusedError
from operator_bench.fields import IDENTITY, Body, PathOfLeaf, at, has_leaf, leaves, mutated, with_leaf
from operator_bench.models import COLLECTIONS, LABEL_MODEL
from operator_bench.rendering import placeholders, rendered
from operator_bench.sightings import Sightings

KINDS = ("Deployment", "Service", "PodDisruptionBudget")
# What has not come back by then counts as lost.
TIMEOUT_S = 10.0
ATTEMPTS = 100


@dataclass(frozen=True)
class Edit:
    """One field of a child, which is given another value or removed."""

    kind: str
    path: PathOfLeaf
    removes: bool

    def __str__(self) -> str:
        return f"{self.kind} {'/'.join(map(str, self.path))} {'removed' if self.removes else 'changed'}"


def every_edit() -> list[Edit]:
    """Of every leaf that is rendered: changed, and removed."""
    bodies = [body for body in placeholders() if body["kind"] in KINDS]
    paths = [(body["kind"], path) for body in bodies for path in leaves(body) if path not in IDENTITY]
    return [Edit(kind, path, removes) for removes in (False, True) for kind, path in paths]


def stands_as_rendered(edit: Edit, live: Body, ours: Body) -> bool:
    """Whether the field is where its path leads: an earlier edit of a name in a list has left an item of nobody's."""
    lists = [edit.path[:length] for length, part in enumerate(edit.path) if isinstance(part, int)]
    return at(live, edit.path) == at(ours, edit.path) and all(
        len(at(live, path)) == len(at(ours, path)) for path in lists
    )


def is_as_rendered(client: Client, edit: Edit, model: Body) -> bool:
    live = client.request("GET", f"{COLLECTIONS[edit.kind]}/{model['metadata']['name']}")
    return stands_as_rendered(edit, live, rendered(model)[edit.kind])


def repair_s(client: Client, seen: Sightings, edit: Edit, model: Body) -> float | None:
    """Seconds until the field of the model's child was restored; None where it can't be broken."""
    name = model["metadata"]["name"]
    path, ours = f"{COLLECTIONS[edit.kind]}/{name}", at(rendered(model)[edit.kind], edit.path)
    for _ in range(ATTEMPTS):
        broken = with_leaf(client.request("GET", path), edit.path, None if edit.removes else mutated(ours))
        try:
            stored = client.request("PUT", path, broken)
        except RefusedError as error:
            if error.code == 409:  # a controller wrote in between
                continue
            if error.code in (400, 422):
                return None
            raise
        answered, version = time.monotonic(), int(stored["metadata"]["resourceVersion"])
        if has_leaf(edit.path, ours, stored):
            return None
        back = seen.wait_after(name, version, partial(has_leaf, edit.path, ours), TIMEOUT_S)
        return TIMEOUT_S if back is None else max(0.0, back - answered)
    raise BenchError(f"{path} can't be changed: it changes all the time")


def return_s(client: Client, seen: Sightings, kind: str, model: str) -> float:
    """Seconds until the model's child of that kind was there again after it had been deleted."""
    name = _name_of(client, kind, model)
    gone = client.request("GET", f"{COLLECTIONS[kind]}/{name}")["metadata"]
    client.request("DELETE", f"{COLLECTIONS[kind]}/{name}", {"propagationPolicy": "Background"})
    answered = time.monotonic()

    def is_another(body: Body) -> bool:
        return bool(body["metadata"]["uid"] != gone["uid"])

    back = seen.wait_after(name, int(gone["resourceVersion"]), is_another, TIMEOUT_S)
    return TIMEOUT_S if back is None else max(0.0, back - answered)


def _name_of(client: Client, kind: str, model: str) -> str:
    """A revision's name has a hash at its end; the others are called like the model."""
    if kind != "ControllerRevision":
        return model
    found = client.request("GET", f"{COLLECTIONS[kind]}?labelSelector={LABEL_MODEL}%3D{model}")["items"]
    return str(found[0]["metadata"]["name"])
