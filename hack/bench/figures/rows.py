"""Share of the limit for AWS's published rows: every replayable one, or a handful that stands for all kinds."""

import math
from collections.abc import Sequence

from bench.closed_loop import warm_up
from bench.device import SimulatedDevice, of_row
from bench.figures.headline import REQUEST, alternate
from bench.findings import SHARE, Finding, Target, ratios
from bench.limit import limit
from bench.scale import Scale
from bench.servers import runtime
from neuron_runtime.benchmark_rows import DeviceRow, find_row, replayable_rows

FIGURE = "rows"
LONG_BATCH_MS = 2.0
SHARE_LONG, SHARE_SHORT = Target("at least", 0.97), Target("at least", 0.90)
HANDFUL = (
    "resnet18:batch",
    "distilbert-base-cased:batch",
    "bert-base-uncased:batch",
    "openai/clip-vit-base-patch32:batch",
    "bert-base-uncased:real-time",
    "distilbert-base-cased:real-time",
    "resnet18:real-time",
)
BATCHES_PER_RUN = 150


def measure(scale: Scale, kept: Sequence[Finding] = ()) -> list[Finding]:
    """Of rows that have a result among `kept`, that one; it was measured in some minutes as good as any."""
    chosen = replayable_rows() if scale.every_row else [find_row(name) for name in HANDFUL]
    known = {finding.name: finding for finding in kept if finding.figure == FIGURE and not finding.void}
    found = [known.get(name_of(row)) or replayed(scale, row) for row in chosen]
    return [*worst(found), *found]


def name_of(row: DeviceRow) -> str:
    device = of_row(row)
    return (
        f"{row.name}: {device.cores} x {device.batch_size} x {device.service_ms:.3g} ms, {device.in_flight} in flight, "
        f"{device.clients} clients"
    )


def worst(found: Sequence[Finding]) -> list[Finding]:
    """The row that is furthest below, of those with each target."""
    least = []
    for what, target in ((f"of {LONG_BATCH_MS:g} ms a batch and more", SHARE_LONG), ("of less", SHARE_SHORT)):
        alike = [finding for finding in found if finding.target == target and not finding.void]
        if alike:
            row = min(alike, key=lambda finding: finding.measured)
            met = sum(finding.verdict == "met" for finding in alike)
            name = f"{met} of {len(alike)} rows {what} reach their target; the least"
            least.append(Finding(FIGURE, name, SHARE, row.runs, target))
    return least


def replayed(scale: Scale, row: DeviceRow) -> Finding:
    device = of_row(row)
    seconds = seconds_for(device, scale)
    with limit(device) as workers, runtime(*device.flags) as server:
        warm_up(server, REQUEST, clients=device.clients, seconds=scale.warmup_seconds)
        sides = alternate(f"{FIGURE}: {row.name}", scale, workers, server, clients=device.clients, seconds=seconds)
    caveats = "; ".join(sorted({loop.caveat for loop in sides.loops if loop.caveat}))
    shares = ratios([loop.per_second for loop in sides.loops], sides.limits)
    return Finding(FIGURE, name_of(row), SHARE, shares, target_of(device), note=caveats, void=sides.void)


def target_of(device: SimulatedDevice) -> Target:
    return SHARE_LONG if device.service_ms >= LONG_BATCH_MS else SHARE_SHORT


def seconds_for(device: SimulatedDevice, scale: Scale) -> int:
    """Long enough that the batch with which every run begins, and during which nothing is answered, hardly counts."""
    if scale.name == "smoke":
        return scale.short_seconds
    return max(scale.short_seconds, math.ceil(BATCHES_PER_RUN * device.service_seconds))
