"""Share of the limit on AWS's resnet18 row: two cores, batches of 8 in 2.30 ms, two calls in flight on each."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from bench.closed_loop import closed_loop, warm_up
from bench.device import MODEL, of_row
from bench.errors import BenchError
from bench.findings import SHARE, Finding, Target, ratios, voided
from bench.limit import Limit, limit
from bench.loops import ClosedLoop
from bench.payload import open_inference
from bench.runs import interleaved
from bench.scale import Scale
from bench.servers import Server, runtime
from neuron_runtime.benchmark_rows import find_row

FIGURE = "headline"
DEVICE = of_row(find_row("resnet18:batch"))
CLIENTS = DEVICE.clients
OF_LIMIT = Target("at least", 0.97)
REQUEST = open_inference(MODEL)


def measure(scale: Scale) -> list[Finding]:
    with limit(DEVICE) as workers, runtime(*DEVICE.flags) as server:
        warm_up(server, REQUEST, clients=CLIENTS, seconds=scale.warmup_seconds)
        sides = alternate(FIGURE, scale, workers, server, clients=CLIENTS, seconds=scale.seconds)
    return voided(findings(sides.limits, sides.loops), sides.void)


class Sides(NamedTuple):
    """The limit in rows per second and the closed loop against the server, of each run."""

    limits: list[float]
    loops: list[ClosedLoop]
    void: str


def alternate(title: str, scale: Scale, workers: Limit, server: Server, *, clients: int, seconds: int) -> Sides:
    limits, loops = "limit", "server"
    sides: dict[str, Callable[[], float | ClosedLoop]] = {
        limits: lambda: workers.rows_per_second(seconds),
        loops: lambda: closed_loop(server, REQUEST, clients=clients, seconds=seconds),
    }
    rounds: Any = interleaved(title, scale.runs, sides)
    if not all(rounds[limits]):
        raise BenchError(f"{title}: a run of {seconds} s is too short for the limit; too few batches came back")
    return Sides(rounds[limits], rounds[loops], rounds.void)


def findings(limits: Sequence[float], loops: Sequence[ClosedLoop]) -> list[Finding]:
    rates = [loop.per_second for loop in loops]
    caveats = "; ".join(sorted({loop.caveat for loop in loops if loop.caveat}))
    return [
        Finding(FIGURE, "limit: the same workers without a server", "rows/s", tuple(limits)),
        Finding(FIGURE, f"this runtime, {CLIENTS} clients", "requests/s", tuple(rates), note=caveats),
        Finding(FIGURE, "share of the limit", SHARE, ratios(rates, limits), OF_LIMIT),
        Finding(FIGURE, "p50", "ms", tuple(loop.p50_seconds * 1000 for loop in loops)),
        Finding(FIGURE, "p99", "ms", tuple(loop.p99_seconds * 1000 for loop in loops)),
    ]
