"""Three times more requests than the device can take: what is accepted, how fast the rest is refused, what is lost.

The device is slowed to some 1,300 rows/s, so that the generator keeps up with three times as much on the same CPUs.
"""

from bench.device import SimulatedDevice
from bench.figures.headline import REQUEST
from bench.findings import Finding, Target, ratios
from bench.limit import limit
from bench.open_loop import Offered, caveat, poisson
from bench.runs import interleaved
from bench.scale import Scale
from bench.servers import runtime
from neuron_runtime.benchmarking.measurement import Measurement

FIGURE = "overload"
DEVICE = SimulatedDevice(cores=2, batch_size=8, in_flight=2, service_ms=12.0)
NEARLY_FULL, OVERLOAD = 0.9, 3.0
P99_OVER_NEARLY_FULL, REFUSAL_MS, GOODPUT = Target("at most", 1.3), Target("at most", 10.0), Target("at least", 0.95)
QUEUE_ROWS = 24
"""A batch and a half for each core: enough to keep it busy, little enough to wait for. The default queue is deep, so
that bursts are answered late rather than refused; who wants bounded latency sets a short one, for both loads here."""


def measure(scale: Scale) -> list[Finding]:
    with limit(DEVICE) as workers, runtime(*DEVICE.flags, "--queue-capacity-rows", str(QUEUE_ROWS)) as server:
        limits: list[float] = []
        seeds = iter(range(2 * scale.runs))

        def offered(load: float) -> Measurement:
            per_second = load * limits[-1]
            return poisson(server, REQUEST, Offered(per_second, scale.seconds, scale.warmup_seconds, seed=next(seeds)))

        limits.append(workers.rows_per_second(scale.seconds))
        loads = {"nearly full": lambda: offered(NEARLY_FULL), "overload": lambda: offered(OVERLOAD)}
        measured = interleaved(FIGURE, scale.runs, loads)
        limits.append(workers.rows_per_second(scale.seconds))
    return findings(measured["nearly full"], measured["overload"], sum(limits) / len(limits))


def findings(nearly_full: list[Measurement], overload: list[Measurement], limit_per_second: float) -> list[Finding]:
    void = next(filter(None, map(caveat, [*nearly_full, *overload])), "") or lost(overload)
    before = tuple(one.percentile(99) * 1000 for one in nearly_full)
    accepted = tuple(one.percentile(99) * 1000 for one in overload)
    refused = tuple(one.refusal_percentile(99) * 1000 for one in overload)
    goodput = tuple(one.answered_per_second / limit_per_second for one in overload)
    refused_before = tuple(one.error_ratio for one in nearly_full)
    lag = tuple(one.lag_p99_seconds * 1000 for one in overload)
    return [
        Finding(FIGURE, f"p99 at {NEARLY_FULL:.0%} of the limit", "ms", before, void=void),
        Finding(FIGURE, f"refused at {NEARLY_FULL:.0%} of the limit, share", "", refused_before, void=void),
        Finding(FIGURE, f"p99 of the accepted at {OVERLOAD:.0f} times the limit", "ms", accepted, void=void),
        Finding(FIGURE, "the one over the other", "times", ratios(accepted, before), P99_OVER_NEARLY_FULL, void=void),
        Finding(FIGURE, "refusals, p99, seen by the client", "ms", refused, REFUSAL_MS, void=void),
        Finding(FIGURE, "answered, share of the limit", "", goodput, GOODPUT, void=void),
        Finding(FIGURE, "the generator's own lag, p99", "ms", lag),
    ]


def lost(overload: list[Measurement]) -> str:
    """Overload is refused, never dropped."""
    failures = [one.failures for one in overload if one.failed]
    return f"requests without any answer: {failures[0]}" if failures else ""
