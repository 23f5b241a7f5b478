"""Memory of the front process after very many requests, over what it was after a tenth of them."""

from bench.closed_loop import closed_loop
from bench.figures.headline import CLIENTS, DEVICE, REQUEST
from bench.findings import SHARE, Finding, Target
from bench.scale import Scale
from bench.servers import Server, runtime
from cluster.progress import step

FIGURE = "memory"
GROWTH = Target("at most", 0.05)
WARM_SHARE = 0.1
STEP_SECONDS = 10
MIB = 2**20


def measure(scale: Scale) -> list[Finding]:
    with runtime(*DEVICE.flags) as server:
        warm = send(server, round(scale.memory_requests * WARM_SHARE), scale)
        before = server.usage().front_rss_bytes
        sent = send(server, scale.memory_requests, scale)
        after = server.usage().front_rss_bytes
    return [
        Finding(FIGURE, f"front after {warm:,} requests", "MiB", (before / MIB,)),
        Finding(FIGURE, f"front after {warm + sent:,} requests", "MiB", (after / MIB,)),
        Finding(FIGURE, "growth", SHARE, (after / before - 1,), GROWTH),
    ]


def send(server: Server, at_least: int, scale: Scale) -> int:
    """Requests in loops of a few seconds until there were that many."""
    sent = 0
    seconds = scale.seconds if scale.name == "smoke" else STEP_SECONDS
    while sent < at_least:
        with step(f"{FIGURE}: {sent:,} of {at_least:,} requests"):
            sent += closed_loop(server, REQUEST, clients=CLIENTS, seconds=seconds).requests
    return sent
