"""A child is deleted, or one field of it that the operator owns is changed or removed: until it is as it was.

Every owned field of the Deployment, the Service and the disruption budget in turn, each on another model.
"""

from contextlib import ExitStack
from itertools import cycle

from bench.findings import Finding, Target
from cluster.progress import step
from operator_bench.edits import TIMEOUT_S, Edit, every_edit, is_as_rendered, repair_s, return_s
from operator_bench.models import COLLECTIONS, names
from operator_bench.quantiles import percentile
from operator_bench.sightings import Sightings, watched
from operator_bench.story import Story
from operator_bench.world import World

FIGURE = "repair"
WITHIN, NONE_LEFT = Target("at most", 0.5), Target("at most", 0)
DELETED_OF_A_KIND = 10
# Models that are looked at for one that has the field in its place.
TRIED = 10
NAMED = 5


def measure(story: Story) -> list[Finding]:
    world, size, models = story.world, f"{story.models:,} models", names(story.models)
    world.wait_until_quiet()
    with ExitStack() as stack:
        seen = {kind: stack.enter_context(watched(world.client, path)) for kind, path in COLLECTIONS.items()}
        with step("children deleted"):
            deleted = [
                return_s(world.client, seen[kind], kind, name)
                for kind in COLLECTIONS
                for name in models[:DELETED_OF_A_KIND]
            ]
        world.wait_until_quiet()
        with step("every owned field changed, and removed"):
            restored = _edited(world, seen, models)
    lost = [str(edit) for edit, seconds in restored if seconds == TIMEOUT_S]
    values = [seconds for _, seconds in restored]
    return [
        Finding(FIGURE, f"{size}: child deleted: back, p99", "s", (percentile(deleted, 99),), WITHIN),
        Finding(FIGURE, f"{size}: child deleted: back, median", "s", (percentile(deleted, 50),)),
        Finding(
            FIGURE, f"{size}: field changed: restored, p99", "s", (percentile(values, 99),), WITHIN, _told(restored)
        ),
        Finding(FIGURE, f"{size}: field changed: restored, median", "s", (percentile(values, 50),)),
        Finding(FIGURE, f"{size}: owned fields not restored", "", (float(len(lost)),), NONE_LEFT, ", ".join(lost)),
    ]


def _edited(world: World, seen: dict[str, Sightings], models: list[str]) -> list[tuple[Edit, float]]:
    """What could be broken, and how long it was."""
    restored, turns = [], cycle(models)
    for edit in every_edit():
        tried = (world.models.newest(next(turns)) for _ in range(TRIED))
        model = next((one for one in tried if is_as_rendered(world.client, edit, one)), None)
        seconds = repair_s(world.client, seen[edit.kind], edit, model) if model else None
        if seconds is not None:
            restored.append((edit, seconds))
    return restored


def _told(restored: list[tuple[Edit, float]]) -> str:
    slow = [one for one in sorted(restored, key=lambda one: -one[1]) if one[1] > WITHIN.value]
    named = ", ".join(f"{edit} {seconds:.2g} s" for edit, seconds in slow[:NAMED])
    return f"{len(restored)} fields, {len(slow)} of them later" + (f": {named}" if named else "")
