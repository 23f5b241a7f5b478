"""CPU per request with 2 cores and with 24 (inf2.48xlarge), each slowed so that both answer the same 4,000 rows/s."""

from dataclasses import dataclass

from bench.closed_loop import closed_loop, warm_up
from bench.device import SimulatedDevice
from bench.figures.headline import REQUEST
from bench.findings import SHARE, Finding, Target, ratios, voided
from bench.runs import interleaved
from bench.scale import Scale
from bench.servers import Server, runtime

FIGURE = "cores"
FEW, MANY = 2, 24
BATCH_SIZE, ROWS_PER_SECOND = 8, 4000
FLAT = Target("at most", 0.15)


@dataclass(frozen=True)
class Visit:
    microseconds_per_request: float
    per_second: float


def device_of(cores: int) -> SimulatedDevice:
    return SimulatedDevice(cores, BATCH_SIZE, 2, service_ms=1000 * BATCH_SIZE * cores / ROWS_PER_SECOND)


def measure(scale: Scale) -> list[Finding]:
    few, many = device_of(FEW), device_of(MANY)
    with runtime(*few.flags) as small, runtime(*many.flags) as large:
        for server, device in ((small, few), (large, many)):
            warm_up(server, REQUEST, clients=device.clients, seconds=scale.warmup_seconds)
        sides = {
            f"{FEW} cores": lambda: visit(small, few, scale.seconds),
            f"{MANY} cores": lambda: visit(large, many, scale.seconds),
        }
        visits = interleaved(FIGURE, scale.runs, sides)
    costs = {name: [one.microseconds_per_request for one in found] for name, found in visits.items()}
    rates = {name: [one.per_second for one in found] for name, found in visits.items()}
    change = tuple(ratio - 1 for ratio in ratios(costs[f"{MANY} cores"], costs[f"{FEW} cores"]))
    rows = [
        *(Finding(FIGURE, f"{name}: CPU per request", "µs", tuple(found)) for name, found in costs.items()),
        *(Finding(FIGURE, f"{name}: rate", "requests/s", tuple(found)) for name, found in rates.items()),
        Finding(FIGURE, f"more CPU per request with {MANY} cores than with {FEW}", SHARE, change, FLAT),
    ]
    return voided(rows, visits.void)


def visit(server: Server, device: SimulatedDevice, seconds: int) -> Visit:
    began = server.usage().cpu_seconds
    loop = closed_loop(server, REQUEST, clients=device.clients, seconds=seconds)
    return Visit((server.usage().cpu_seconds - began) / loop.requests * 1e6, loop.per_second)
