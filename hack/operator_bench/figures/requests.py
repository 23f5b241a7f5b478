"""Requests of the operator per model, from the audit log; watches and the Lease are not counted."""

from bench.findings import Finding, Target
from operator_bench.story import Story

FIGURE = "requests"
WRITES, EVENTS, READS = Target("at most", 6), Target("at most", 3), Target("at most", 0)


def measure(story: Story) -> list[Finding]:
    size, asked = f"{story.models:,} models", story.created.asked
    rows = (("writes", asked.writes, WRITES), ("Events", asked.events, EVENTS), ("reads", asked.reads, READS))
    found = [
        Finding(FIGURE, f"{size}: {what} for one", "", (count / story.models,), target) for what, count, target in rows
    ]
    conflicts = Finding(FIGURE, f"{size}: answers 409 for one", "", (asked.conflicts / story.models,))
    return [*found, conflicts]
