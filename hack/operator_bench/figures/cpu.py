"""CPU of the operator's process per model, from its creation until nothing is left to do, idling subtracted."""

from bench.findings import SHARE, Finding, Target
from operator_bench.story import Story

FIGURE = "cpu"
# Deployment, Service, disruption budget, revision, status and events; 20 ms were set for the first two alone.
AT_MOST_MS = Target("at most", 25)


def measure(story: Story) -> list[Finding]:
    size, created = f"{story.models:,} models", story.created
    milliseconds = created.cpu_seconds / story.models * 1000
    return [
        Finding(FIGURE, f"{size}: CPU of one", "ms", (milliseconds,), AT_MOST_MS),
        Finding(FIGURE, f"{size}: looks at one", "", (created.looks / story.models,)),
        Finding(FIGURE, f"{size}: of all CPUs, taken by the hypervisor", SHARE, (created.stolen_share,)),
    ]
