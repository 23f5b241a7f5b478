"""Three times more requests than the device can take: what is accepted, how fast the rest is refused, what is lost.

The device is slowed to some 1,300 rows/s, so that the generator keeps up with three times as much on the same CPUs.
"""

import itertools

from bench.device import SimulatedDevice
from bench.figures.headline import REQUEST
from bench.findings import SHARE, Finding, Target, ratios, voided
from bench.limit import limit
from bench.open_loop import Offered, poisson, sort_out
from bench.runs import interleaved
from bench.scale import Scale
from bench.servers import runtime
from neuron_runtime.benchmarking.measurement import Measurement

FIGURE = "overload"
DEVICE = SimulatedDevice(cores=2, batch_size=8, in_flight=2, service_ms=12.0)
NEARLY_FULL, OVERLOAD = 0.9, 3.0
P99_OVER_NEARLY_FULL, REFUSAL_MS, GOODPUT = Target("at most", 1.3), Target("at most", 10.0), Target("at least", 0.95)
NONE_LOST = Target("at most", 0)
QUEUE_ROWS = 24
"""A batch and a half for each core: enough to keep it busy, little enough to wait for. The default queue is deep, so
that bursts are answered late rather than refused; who wants bounded latency sets a short one, for both loads here."""


def measure(scale: Scale) -> list[Finding]:
    with limit(DEVICE) as workers, runtime(*DEVICE.flags, "--queue-capacity-rows", str(QUEUE_ROWS)) as server:
        limits: list[float] = []
        seeds = itertools.count()

        def offered(load: float) -> Measurement:
            per_second = load * limits[-1]
            return poisson(server, REQUEST, Offered(per_second, scale.seconds, scale.warmup_seconds, seed=next(seeds)))

        limits.append(workers.rows_per_second(scale.seconds))
        loads = {"nearly full": lambda: offered(NEARLY_FULL), "overload": lambda: offered(OVERLOAD)}
        measured = interleaved(FIGURE, scale.runs, loads)
        limits.append(workers.rows_per_second(scale.seconds))
    found = findings(measured["nearly full"], measured["overload"], sum(limits) / len(limits))
    return voided(found, measured.void)


def findings(nearly_full: list[Measurement], overload: list[Measurement], limit_per_second: float) -> list[Finding]:
    kept = sort_out(list(zip(nearly_full, overload, strict=True)))
    before = tuple(one.percentile(99) * 1000 for one, _ in kept.rounds)
    refused_before = tuple(one.error_ratio for one, _ in kept.rounds)
    accepted = tuple(one.percentile(99) * 1000 for _, one in kept.rounds)
    refused = tuple(one.refusal_percentile(99) * 1000 for _, one in kept.rounds)
    goodput = tuple(one.answered_per_second / limit_per_second for _, one in kept.rounds)
    unanswered = tuple(float(one.failed) for pair in kept.rounds for one in pair)

    def row(name: str, unit: str, runs: tuple[float, ...], target: Target | None = None) -> Finding:
        return Finding(FIGURE, name, unit, runs, target, note=kept.note, void=kept.void)

    return [
        row(f"p99 at {NEARLY_FULL:.0%} of the limit", "ms", before),
        row(f"refused at {NEARLY_FULL:.0%} of the limit", SHARE, refused_before),
        row(f"p99 of the accepted at {OVERLOAD:.0f} times the limit", "ms", accepted),
        row("the one over the other", "times", ratios(accepted, before), P99_OVER_NEARLY_FULL),
        row("refusals, p99, seen by the client", "ms", refused, REFUSAL_MS),
        row("answered, of the limit", SHARE, goodput, GOODPUT),
        row("without any answer, most in a run", "requests", (max(unanswered),), NONE_LOST),
        Finding(FIGURE, "the generator's own lag, p99", "ms", tuple(one.lag_p99_seconds * 1000 for one in overload)),
    ]
