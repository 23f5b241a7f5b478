"""Puts a server under load: a closed loop of clients that each wait for their answer, or an open loop of Poisson
arrivals that do not. Both return a Measurement.

In the open loop a request's latency counts from when it was due, also when the generator or its connections were late
(coordinated omission); how late is measured too. Runs on the caller's event loop; uvloop makes it faster.
"""

from neuron_runtime.benchmarking.arrivals import poisson_arrivals
from neuron_runtime.benchmarking.load_run import Options
from neuron_runtime.benchmarking.loops import ClosedLoop, OpenLoop
from neuron_runtime.benchmarking.measurement import Measurement
from neuron_runtime.benchmarking.targets import Target

MOST_CLIENTS = 4096
MOST_SECONDS = 900.0
MOST_ARRIVALS = 10_000_000
_DEFAULTS = Options()


async def closed_loop(
    target: Target, *, clients: int, seconds: float, warmup_seconds: float, options: Options = _DEFAULTS
) -> Measurement:
    """`clients` connections that each send the next request when the last is answered. TargetError when the server
    takes no connection; ValueError for a load beyond the limits above."""
    _check("clients", clients, MOST_CLIENTS)
    _check("seconds", warmup_seconds + seconds, MOST_SECONDS)
    return await ClosedLoop(target, options, clients).run(("closed", clients), warmup_seconds, seconds)


async def open_loop(
    target: Target,
    *,
    rate_per_second: float,
    seconds: float,
    warmup_seconds: float,
    seed: int,
    most_connections: int,
    options: Options = _DEFAULTS,
) -> Measurement:
    """Poisson arrivals from `seed` over up to `most_connections`; what finds none free waits, and its latency grows.
    Errors as above."""
    _check("most_connections", most_connections, MOST_CLIENTS)
    _check("seconds", warmup_seconds + seconds, MOST_SECONDS)
    _check("rate_per_second * seconds", rate_per_second * (warmup_seconds + seconds), MOST_ARRIVALS)
    arrivals = poisson_arrivals(rate_per_second, warmup_seconds + seconds, seed)
    load = OpenLoop(target, options, most_connections, arrivals)
    return await load.run(("open", rate_per_second), warmup_seconds, seconds)


def _check(name: str, value: float, most: float) -> None:
    if not 0 < value <= most:
        raise ValueError(f"{name} must be more than 0 and at most {most:g}, not {value:g}")
