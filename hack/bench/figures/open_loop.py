"""Poisson arrivals at 80 % of the limit: the 99th percentile against the service time and the batch window.

Once around the headline's device, and once around one so slow that the generator and the server find idle CPUs.
"""

import itertools

from bench.device import SimulatedDevice
from bench.figures import overload
from bench.figures.headline import DEVICE, REQUEST
from bench.findings import Finding, Target, voided
from bench.limit import limit
from bench.open_loop import Offered, all_answered, poisson, sort_out
from bench.runs import interleaved
from bench.scale import Scale
from bench.servers import runtime
from neuron_runtime.settings import ServeSettings

FIGURE = "open-loop"
LOAD = 0.80
SERVICE_TIMES = 3


def bound_ms(device: SimulatedDevice) -> float:
    """Three service times and the longest wait for company."""
    window_microseconds: int = ServeSettings.model_fields["batch_window_microseconds"].default
    return SERVICE_TIMES * device.service_ms + window_microseconds / 1000


def measure(scale: Scale) -> list[Finding]:
    return [*around(DEVICE, scale), *around(overload.DEVICE, scale)]


def around(device: SimulatedDevice, scale: Scale) -> list[Finding]:
    with limit(device) as workers, runtime(*device.flags) as server:
        per_second = LOAD * workers.rows_per_second(scale.seconds)
        seeds = itertools.count()
        sides = {
            "server": lambda: all_answered(
                server, poisson(server, REQUEST, Offered(per_second, scale.seconds, 0.5, seed=next(seeds)))
            )
        }
        rounds = interleaved(f"{FIGURE}: {device.service_ms:.3g} ms a batch", scale.runs, sides)
    measured = rounds["server"]
    kept = sort_out([(one,) for one in measured])
    p50, p99 = (tuple(one.percentile(percent) * 1000 for (one,) in kept.rounds) for percent in (50, 99))
    lag = tuple(one.lag_p99_seconds * 1000 for one in measured)
    what = f"{device.service_ms:.3g} ms a batch"
    bound = Target("at most", bound_ms(device))
    found = [
        Finding(FIGURE, f"{what}: offered, {LOAD:.0%} of the limit", "requests/s", (per_second,)),
        Finding(FIGURE, f"{what}: p50", "ms", p50, note=kept.note, void=kept.void),
        Finding(FIGURE, f"{what}: p99", "ms", p99, bound, note=kept.note, void=kept.void),
        Finding(FIGURE, f"{what}: the generator's own lag, p99", "ms", lag),
    ]
    return voided(found, rounds.void)
