"""What the server adds for a client alone: its median over a bare device call and an empty echo of the same run.

An echo that is asked without a pause answers from warm caches; a server that waits for its device between requests does
not, and on a virtual machine the difference is several times. So there is a second row, over an echo that makes the
device call itself and therefore pauses as the server does.
"""

from bench.closed_loop import closed_loop, warm_up
from bench.device import bare_call_p50
from bench.figures.headline import DEVICE, REQUEST
from bench.findings import Finding, Target, voided
from bench.runs import interleaved
from bench.scale import Scale
from bench.servers import echo, runtime

FIGURE = "latency"
ADDED = Target("at most", 0.35)


def measure(scale: Scale) -> list[Finding]:
    with echo() as empty, echo(DEVICE.service_ms) as calling, runtime(*DEVICE.flags) as server:
        sides = {
            "bare call": lambda: bare_call_p50(DEVICE, scale.seconds),
            "echo": lambda: closed_loop(empty, REQUEST, clients=1, seconds=scale.seconds).p50_seconds,
            "echo that makes the call": lambda: (
                closed_loop(calling, REQUEST, clients=1, seconds=scale.seconds).p50_seconds
            ),
            "server": lambda: closed_loop(server, REQUEST, clients=1, seconds=scale.seconds).p50_seconds,
        }
        for one in (empty, calling, server):
            warm_up(one, REQUEST, clients=1, seconds=scale.warmup_seconds)
        p50 = interleaved(FIGURE, scale.runs, sides)
    added = [
        (server - bare - empty) * 1000
        for server, bare, empty in zip(p50["server"], p50["bare call"], p50["echo"], strict=True)
    ]
    over_calling = [
        (server - calling) * 1000
        for server, calling in zip(p50["server"], p50["echo that makes the call"], strict=True)
    ]
    found = [
        *(
            Finding(FIGURE, f"{name}, p50", "ms", tuple(value * 1000 for value in values))
            for name, values in p50.items()
        ),
        Finding(FIGURE, "added by the server, one client", "ms", tuple(added), ADDED),
        Finding(FIGURE, "added over the echo that makes the call", "ms", tuple(over_calling)),
    ]
    return voided(found, p50.void)
