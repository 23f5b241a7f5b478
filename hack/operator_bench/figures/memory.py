"""Resident memory of the operator's process, before the models and once all of them serve."""

from bench.findings import Finding, Target
from operator_bench.story import Story

FIGURE = "memory"
AT_MOST_MIB = {1000: Target("at most", 130), 5000: Target("at most", 300)}


def measure(story: Story) -> list[Finding]:
    size, created = f"{story.models:,} models", story.created
    return [
        Finding(FIGURE, f"{size}: before them", "MiB", (created.idle_mib,)),
        Finding(FIGURE, f"{size}: once they serve", "MiB", (created.settled_mib,), AT_MOST_MIB.get(story.models)),
    ]
