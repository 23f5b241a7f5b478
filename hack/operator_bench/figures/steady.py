"""Settled models, left alone: what the operator writes besides its Lease, and the CPU it takes."""

import time

from bench.findings import SHARE, Finding, Target
from cluster.progress import step
from operator_bench.audit import asked
from operator_bench.story import Story

FIGURE = "steady"
WRITES, OF_A_CORE = Target("at most", 0), Target("at most", 0.02)


def measure(story: Story) -> list[Finding]:
    world, title = story.world, f"{story.models:,} models: {story.steady_seconds} s, left alone"
    world.wait_until_quiet()
    position, cpu, began = world.control_plane.audit_position(), world.cpu_seconds(), time.monotonic()
    with step(title):
        time.sleep(story.steady_seconds)
    share = (world.cpu_seconds() - cpu) / (time.monotonic() - began)
    found = asked(world.control_plane.requests_by_operator(position))
    note = "" if not found.writes + found.events else found.told
    return [
        Finding(FIGURE, f"{title}: writes and Events", "", (float(found.writes + found.events),), WRITES, note=note),
        Finding(FIGURE, f"{title}: of a core", SHARE, (share,), OF_A_CORE),
        Finding(FIGURE, f"{title}: resident memory at the end", "MiB", (world.operator.rss_mib(),)),
    ]
