"""As many new models as there are arrive at once; meanwhile pods of the old ones turn unready, one a second.

A controller with one queue and one worker tells of them after it has been through all the new ones.
"""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from bench.findings import Finding, Target
from cluster.progress import step
from local_control_plane.nodes import create_nodes
from operator_bench.fields import Body
from operator_bench.figures.unready import chosen_pods, fail, paced, recover, rows, waits
from operator_bench.many import for_each
from operator_bench.models import MODELS, model, names, nodes_for
from operator_bench.story import SERVED_TIMEOUT_S, Story

FIGURE = "arrivals"
WITHIN = Target("at most", 3)
PODS_PER_SECOND = 1


def measure(story: Story) -> list[Finding]:
    world, count = story.world, story.models
    world.wait_until_quiet()
    create_nodes(world.control_plane, nodes_for(count), first=nodes_for(count))
    pods, new = chosen_pods(story), names(count, "new")
    with step(f"{count:,} new models arrive"), ThreadPoolExecutor(1) as background:
        arriving = background.submit(for_each, new, lambda name: world.client.request("POST", MODELS, model(name)))

        def while_they_arrive() -> Iterator[tuple[str, Body]]:
            for item in pods.items():
                if world.models.are_all(set(new)):
                    return
                yield item

        failures = [fail(world, name, pod) for name, pod in paced(while_they_arrive(), 1 / PODS_PER_SECOND)]
        waited = waits(world, failures)
        arriving.result()
        world.models.wait_for_all(set(new), SERVED_TIMEOUT_S)
    recover(world, failures)
    name = f"{count:,} models: as many arrive, pods turn unready: told"
    return rows(FIGURE, name, waited, WITHIN)
