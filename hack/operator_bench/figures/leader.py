"""Two replicas: the one that leads is killed, or told to end, until the other creates a child of a new model."""

import signal
import time

from bench.errors import BenchError
from bench.findings import Finding, Target
from cluster.progress import step
from operator_bench.models import COLLECTIONS, MODELS, model
from operator_bench.sightings import watched
from operator_bench.story import Story

FIGURE = "leader"
TIMEOUT_S = 120.0
WAYS = (("killed", signal.SIGKILL, Target("at most", 10)), ("told to end", signal.SIGTERM, Target("at most", 1)))


def measure(story: Story) -> list[Finding]:
    story.world.wait_until_quiet()
    size = f"{story.models:,} models"
    return [
        Finding(FIGURE, f"{size}: leader {how}: the other acts", "s", (_seconds_without(story, number, how),), target)
        for how, number, target in WAYS
    ]


def _seconds_without(story: Story, number: signal.Signals, how: str) -> float:
    """The model is created right after the signal, so that it is the other replica's in any case."""
    world, name = story.world, f"after-{number.name.lower()}"
    with step(f"the leader is {how}"), watched(world.client, COLLECTIONS["Deployment"]) as deployments:
        standby = world.another_operator()
        world.operator.process.send_signal(number)
        began = time.monotonic()
        world.client.request("POST", MODELS, model(name))
        seen = deployments.wait_after(name, 0, lambda body: True, TIMEOUT_S)
        world.operator.process.wait(timeout=TIMEOUT_S)
        world.operator = standby
    if seen is None:
        raise BenchError(f"{TIMEOUT_S:.0f} s after the leader was {how} nobody has acted:\n{world.last_words()}")
    return seen - began
