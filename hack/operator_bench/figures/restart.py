"""The operator starts again with settled models: until it has looked at each of them, and what it writes."""

import time

from bench.findings import Finding, Target
from cluster.progress import step
from operator_bench.audit import asked
from operator_bench.story import Story

FIGURE = "restart"
CAUGHT_UP, WRITES = Target("at most", 10), Target("at most", 0)
CAUGHT_UP_OF = 1000
TIMEOUT_S = 600.0


def measure(story: Story) -> list[Finding]:
    world, size = story.world, f"{story.models:,} models"
    world.wait_until_quiet()
    world.operator.stop()
    position = world.control_plane.audit_position()
    with step(f"{size}: the operator starts again"):
        began = time.monotonic()
        world.operator.start()
        world.wait_for_reconciles(story.models, TIMEOUT_S)
        caught_up = time.monotonic() - began
    world.wait_until_quiet()
    found = asked(world.control_plane.requests_by_operator(position))
    target = CAUGHT_UP if story.models <= CAUGHT_UP_OF else None
    note = "" if not found.writes + found.events else found.told
    return [
        Finding(FIGURE, f"{size}: started and caught up", "s", (caught_up,), target),
        Finding(
            FIGURE,
            f"{size}: started again: writes and Events",
            "",
            (float(found.writes + found.events),),
            WRITES,
            note=note,
        ),
    ]
