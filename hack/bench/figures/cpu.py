"""CPU per request of the whole process tree, over that of an empty uvicorn echo driven at the same rate."""

from bench.figures.headline import DEVICE, REQUEST
from bench.findings import Finding, Target, ratios, voided
from bench.open_loop import Offered, all_answered, poisson
from bench.runs import interleaved
from bench.scale import Scale
from bench.servers import Server, echo, runtime

FIGURE = "cpu"
OVER_ECHO = Target("at most", 3.5)
REQUESTS_PER_SECOND = 3000


def measure(scale: Scale) -> list[Finding]:
    offered = Offered(REQUESTS_PER_SECOND, scale.seconds, warmup_seconds=0.5, seed=1)
    with echo() as empty, runtime(*DEVICE.flags) as server:
        costs = interleaved(
            FIGURE, scale.runs, {"echo": lambda: cost(empty, offered), "server": lambda: cost(server, offered)}
        )
    over_echo = ratios(costs["server"], costs["echo"])
    found = [
        *(Finding(FIGURE, f"{name}: CPU per request", "µs", tuple(values)) for name, values in costs.items()),
        Finding(FIGURE, f"over the echo, both at {REQUESTS_PER_SECOND}/s", "times", over_echo, OVER_ECHO),
    ]
    return voided(found, costs.void)


def cost(server: Server, offered: Offered) -> float:
    """Microseconds of CPU per request, warm-up included: what the process tree used over all it was sent."""
    began = server.usage().cpu_seconds
    measured = all_answered(server, poisson(server, REQUEST, offered))
    used = server.usage().cpu_seconds - began
    requests = measured.completed * (offered.seconds + offered.warmup_seconds) / offered.seconds
    return used / requests * 1e6
