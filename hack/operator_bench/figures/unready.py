"""A pod turns unready, until the status of its model says so: at a tenth of the models, five a second.

It counts from the API server's answer to the pod's new status until a watch shows Ready=False.
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass

from bench.findings import Finding, Target
from cluster.progress import step
from local_control_plane.nodes import set_readiness
from operator_bench.fields import Body
from operator_bench.models import LABEL_MODEL, NAMESPACE, PODS, condition, names
from operator_bench.quantiles import percentile
from operator_bench.story import Story
from operator_bench.world import World

FIGURE = "unready"
WITHIN = Target("at most", 1)
PODS_PER_SECOND = 5
ONE_IN, FEWEST = 10, 10
# What has not been told by then counts as never told.
TIMEOUT_S, RECOVERED_TIMEOUT_S = 60.0, 300.0


@dataclass(frozen=True)
class Failure:
    """A pod that turned unready at that moment; `version` is the model's from before."""

    model: str
    pod: Body
    at: float
    version: int


def measure(story: Story) -> list[Finding]:
    world = story.world
    world.wait_until_quiet()
    pods = chosen_pods(story)
    with step(f"{len(pods)} of {story.models:,} pods turn unready"):
        failures = [fail(world, name, pod) for name, pod in paced(pods.items(), 1 / PODS_PER_SECOND)]
        waited = waits(world, failures)
    recover(world, failures)
    return rows(FIGURE, f"{story.models:,} models: pods turn unready: told", waited, WITHIN)


def rows(figure: str, name: str, waited: list[float], target: Target) -> list[Finding]:
    return [
        Finding(figure, f"{name}, p99", "s", (percentile(waited, 99),), target, f"{len(waited)} pods"),
        Finding(figure, f"{name}, median", "s", (percentile(waited, 50),)),
    ]


def chosen_pods(story: Story) -> dict[str, Body]:
    """Of every tenth model, but of ten at least if there are as many."""
    wanted = set(names(story.models)[:: max(1, min(ONE_IN, story.models // FEWEST))])
    items = story.world.client.request("GET", PODS)["items"]
    found = {item["metadata"]["labels"][LABEL_MODEL]: item for item in items}
    return {model: pod for model, pod in found.items() if model in wanted}


def paced(items: Iterable[tuple[str, Body]], seconds: float) -> Iterable[tuple[str, Body]]:
    """One every so many seconds, whatever is done with it in between."""
    due = time.monotonic()
    for item in items:
        time.sleep(max(0.0, due - time.monotonic()))
        due += seconds
        yield item


def fail(world: World, model: str, pod: Body) -> Failure:
    version = int(world.models.newest(model)["metadata"]["resourceVersion"])
    set_readiness(world.client, NAMESPACE, pod, is_ready=False)
    return Failure(model, pod, time.monotonic(), version)


def waits(world: World, failures: Iterable[Failure]) -> list[float]:
    """Seconds until each was told; the timeout for what never was."""
    told = [world.models.wait_after(one.model, one.version, is_told, TIMEOUT_S) for one in failures]
    return [TIMEOUT_S if at is None else max(0.0, at - one.at) for at, one in zip(told, failures, strict=True)]


def is_told(body: Body) -> bool:
    return bool(condition(body).get("status") == "False")


def recover(world: World, failures: list[Failure]) -> None:
    """As before for the next figure."""
    for one in failures:
        set_readiness(world.client, NAMESPACE, one.pod, is_ready=True)
    with step("they recover"):
        world.models.wait_for_all({one.model for one in failures}, RECOVERED_TIMEOUT_S)
