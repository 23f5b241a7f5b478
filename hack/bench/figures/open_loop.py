"""Poisson arrivals at 80 % of the limit: the 99th percentile against the service time and the batch window."""

from bench.figures.headline import DEVICE, REQUEST
from bench.findings import Finding, Target
from bench.limit import limit
from bench.open_loop import Offered, all_answered, caveat, poisson
from bench.runs import interleaved
from bench.scale import Scale
from bench.servers import runtime
from neuron_runtime.settings import ServeSettings

FIGURE = "open-loop"
LOAD = 0.80
SERVICE_TIMES = 3


def bound_ms() -> float:
    """Three service times and the longest wait for company."""
    window_microseconds: int = ServeSettings.model_fields["batch_window_microseconds"].default
    return SERVICE_TIMES * DEVICE.service_ms + window_microseconds / 1000


def measure(scale: Scale) -> list[Finding]:
    with limit(DEVICE) as workers, runtime(*DEVICE.flags) as server:
        per_second = LOAD * workers.rows_per_second(scale.seconds)
        seeds = iter(range(scale.runs))
        sides = {
            "server": lambda: all_answered(
                server, poisson(server, REQUEST, Offered(per_second, scale.seconds, 0.5, seed=next(seeds)))
            )
        }
        measured = interleaved(FIGURE, scale.runs, sides)["server"]
    void = next(filter(None, map(caveat, measured)), "")
    name = f"p99 at {LOAD:.0%} of the limit"
    p99 = tuple(one.percentile(99) * 1000 for one in measured)
    p50 = tuple(one.percentile(50) * 1000 for one in measured)
    lag = tuple(one.lag_p99_seconds * 1000 for one in measured)
    return [
        Finding(FIGURE, "offered", "requests/s", (per_second,)),
        Finding(FIGURE, f"p50 at {LOAD:.0%} of the limit", "ms", p50, void=void),
        Finding(FIGURE, name, "ms", p99, Target("at most", bound_ms()), void=void),
        Finding(FIGURE, "the generator's own lag, p99", "ms", lag),
    ]
