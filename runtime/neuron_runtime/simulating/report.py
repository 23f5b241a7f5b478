"""A simulated run in words: its first decisions, one a line, and what they came to. Pure."""

from collections.abc import Iterator, Sequence

from neuron_runtime.batch_policy import Buckets, Take, Wait
from neuron_runtime.simulating.simulation import Request, Run, Step


def lines(run: Run, buckets: Buckets, show: int) -> Iterator[str]:
    if show:
        yield f"{'ms':>10} {'waiting':>8}  decision"
        yield from (_decision(step, buckets) for step in run.steps[:show])
        if len(run.steps) > show:
            yield f"{'':>10} {'':>8}  … and {len(run.steps) - show} more"
        yield ""
    yield from _summary(run, buckets)


def _decision(step: Step, buckets: Buckets) -> str:
    decision = step.decision
    if isinstance(decision, Take):
        rows = sum(count for _, count in decision.picks)
        size = _batch_sizes(buckets)[decision.bucket]
        start = "at once" if step.starts_at - step.at < 1e-9 else f"from {1000 * step.starts_at:.3f}"
        told = f"core {step.core} {start}: {rows} of {size} rows, {_requests(decision.picks)}"
    elif isinstance(decision, Wait):
        told = f"wait for company until {1000 * decision.until:.3f}"
    else:
        told = decision.reason
    return f"{1000 * step.at:10.3f} {step.waiting_rows:8}  {told}"


def _requests(picks: Sequence[tuple[Request, int]]) -> str:
    first, last = picks[0][0].number, picks[-1][0].number
    return f"request {first}" if first == last else f"requests {first} to {last}"


def _summary(run: Run, buckets: Buckets) -> Iterator[str]:
    sizes = _batch_sizes(buckets)
    takes = [step.decision for step in run.steps if isinstance(step.decision, Take)]
    rows = sum(count for take in takes for _, count in take.picks)
    busy = sum(core.busy_seconds for core in run.cores) / (len(run.cores) * run.ended_at) if run.ended_at else 0.0
    yield f"requests   {len(run.requests)} in {run.ended_at:.3f} s, {rows / max(run.ended_at, 1e-9):.0f} rows/s"
    yield f"latency    {_percentiles([r.answered_at - r.arrived_at for r in run.requests])}"
    yield f"waiting    {_percentiles([r.started_at - r.arrived_at for r in run.requests])}"
    for bucket, size in sorted(sizes.items(), key=lambda item: (item[1], item[0])):
        used = [take for take in takes if take.bucket == bucket]
        filled = sum(count for take in used for _, count in take.picks)
        share = f", {filled / len(used):.2f} rows each" if used else ""
        time = f"{1000 * buckets.service_seconds[bucket]:g} ms"
        yield f"bucket     {bucket}: batch {size}, {time}, {len(used)} batches{share}"
    yield f"cores      {100 * busy:.1f} % busy"


def _batch_sizes(buckets: Buckets) -> dict[int, int]:
    return {bucket: size for form in buckets.forms for size, bucket in form.programs}


def _percentiles(seconds: list[float]) -> str:
    if not seconds:
        return "nothing was asked"
    ordered = sorted(seconds)
    picked = ((name, ordered[min(len(ordered) - 1, int(share * len(ordered)))]) for name, share in _SHARES)
    return ", ".join(f"{name} {1000 * value:.3f} ms" for name, value in picked)


_SHARES = (("p50", 0.5), ("p99", 0.99), ("max", 1.0))
