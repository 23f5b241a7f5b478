"""A child is deleted, or one field of it that the operator owns is changed or removed: until it is as it was.

Every owned field of the Deployment, the Service and the disruption budget in turn, each on another model. It counts
from the API server's answer until a watch shows the repaired object. What the API server refuses can't be broken.
"""

import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from itertools import cycle

from bench.findings import Finding, Target
from cluster.progress import step
from local_control_plane.client import Client, RefusedError
from operator_bench.errors import BenchError
from operator_bench.fields import IDENTITY, Body, PathOfLeaf, at, has_leaf, leaves, mutated, with_leaf
from operator_bench.floor import rendered
from operator_bench.models import COLLECTIONS, LABEL_MODEL, names
from operator_bench.quantiles import percentile
from operator_bench.sightings import Sightings, watched
from operator_bench.story import Story

FIGURE = "repair"
WITHIN = Target("at most", 0.5)
NONE_LEFT = Target("at most", 0)
KINDS = ("Deployment", "Service", "PodDisruptionBudget")
DELETED_OF_A_KIND = 10
# What has not come back by then counts as lost.
TIMEOUT_S = 10.0
ATTEMPTS = 100


@dataclass(frozen=True)
class Edit:
    """One field of one child of one model; `removes` it or gives it another value."""

    kind: str
    path: PathOfLeaf
    removes: bool


def measure(story: Story) -> list[Finding]:
    world, models = story.world, names(story.models)
    world.wait_until_quiet()
    with ExitStack() as stack:
        seen = {kind: stack.enter_context(watched(world.client, path)) for kind, path in COLLECTIONS.items()}
        with step("children deleted"):
            deleted = [_delete(world.client, seen[kind], kind, name) for kind, name in _deletions(models)]
        world.wait_until_quiet()
        with step("every owned field changed, and removed"):
            turns = zip(edits(), cycle(models))
            found = [(edit, _change(world.client, seen[edit.kind], edit, name)) for edit, name in turns]
    changed = [seconds for _, seconds in found if seconds is not None]
    lost = [f"{edit.kind} {'/'.join(map(str, edit.path))}" for edit, seconds in found if seconds == TIMEOUT_S]
    return [
        Finding(FIGURE, f"child deleted: back, p99 of {len(deleted)}", "s", (percentile(deleted, 99),), WITHIN),
        Finding(FIGURE, f"field changed: restored, p99 of {len(changed)}", "s", (percentile(changed, 99),), WITHIN),
        Finding(FIGURE, "field changed: restored, median", "s", (percentile(changed, 50),)),
        Finding(FIGURE, "owned fields not restored", "", (float(len(lost)),), NONE_LEFT, note=", ".join(lost)),
    ]


def edits() -> list[Edit]:
    """Of every leaf that is rendered: changed, and removed."""
    bodies = [body for body in rendered("placeholder") if body["kind"] in KINDS]
    paths = [(body["kind"], path) for body in bodies for path in leaves(body) if path not in IDENTITY]
    return [Edit(kind, path, removes) for removes in (False, True) for kind, path in paths]


def _deletions(models: list[str]) -> Iterator[tuple[str, str]]:
    for kind in COLLECTIONS:
        for name in models[:DELETED_OF_A_KIND]:
            yield kind, name


def _delete(client: Client, seen: Sightings, kind: str, model: str) -> float:
    name = _name_of(client, kind, model)
    gone = client.request("GET", f"{COLLECTIONS[kind]}/{name}")["metadata"]
    answered = _clocked(client, "DELETE", f"{COLLECTIONS[kind]}/{name}", {"propagationPolicy": "Background"})[1]

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


def _change(client: Client, seen: Sightings, edit: Edit, name: str) -> float | None:
    """None where there is nothing to break."""
    path = f"{COLLECTIONS[edit.kind]}/{name}"
    for _ in range(ATTEMPTS):
        live = client.request("GET", path)
        before = at(live, edit.path)
        if before is None:
            return None
        broken = with_leaf(live, edit.path, None if edit.removes else mutated(before))
        try:
            stored, answered = _clocked(client, "PUT", path, broken)
        except RefusedError as error:
            if error.code == 409:  # a controller wrote in between
                continue
            if error.code in (400, 422):
                return None
            raise
        if has_leaf(edit.path, before, stored):
            return None
        version = int(stored["metadata"]["resourceVersion"])
        back = seen.wait_after(name, version, partial(has_leaf, edit.path, before), TIMEOUT_S)
        return TIMEOUT_S if back is None else max(0.0, back - answered)
    raise BenchError(f"{path} can't be changed: it changes all the time")


def _clocked(client: Client, method: str, path: str, body: Body) -> tuple[Body, float]:
    """The answer, and when it came."""
    return client.request(method, path, body), time.monotonic()
