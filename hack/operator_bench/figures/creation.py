"""Models created at once: until the last child exists, beside a client that only creates the same objects."""

from bench.findings import SHARE, Finding, Target
from operator_bench.story import Story

FIGURE = "creation"
OVER_FLOOR = Target("at most", 1.15)


def measure(story: Story) -> list[Finding]:
    size, created = f"{story.models:,} models", story.created
    rows = [
        Finding(FIGURE, f"{size}: until the last child exists", "s", (created.children_seconds,)),
        Finding(FIGURE, f"{size}: until the last one serves", "s", (created.served_seconds,)),
    ]
    if story.floor is None:
        return rows
    ratio = (created.children_seconds / story.floor.seconds,)
    rows = [
        Finding(FIGURE, f"{size}: the floor", "s", (story.floor.seconds,)),
        Finding(FIGURE, f"{size}: the floor: taken by the hypervisor", SHARE, (story.floor.stolen_share,)),
        *rows,
        Finding(FIGURE, f"{size}: last child, over the floor", "times", ratio, OVER_FLOOR),
    ]
    if story.applied_floor is not None:
        applied = (story.applied_floor.seconds / story.floor.seconds,)
        rows.append(Finding(FIGURE, f"{size}: the floor by server-side apply, over the floor", "times", applied))
    return rows
