"""A benchmark as a table for people and as a JSON document for programs. Pure; for `command`."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from neuron_runtime.benchmarking.measurement import Measurement, Objective

PERCENTILES = (50.0, 90.0, 99.0, 99.9)
_HEADINGS = ("load", "answers/s", "p50", "p90", "p99", "p99.9", "max", "refused", "failed", "generator")


@dataclass(frozen=True)
class Goals:
    """What each measurement must reach. `most_error_ratio` None: only that something was answered."""

    objectives: tuple[Objective, ...] = ()
    most_error_ratio: float | None = None

    def misses(self, measurement: Measurement) -> list[str]:
        """What this measurement does not reach, in words."""
        if not len(measurement.latencies_seconds):
            return ["nothing was answered with 2xx"]
        missed = [
            f"{objective.name} {duration(measurement.percentile(objective.percent))} > {duration(objective.seconds)}"
            for objective in self.objectives
            if not objective.is_met(measurement)
        ]
        if self.most_error_ratio is not None and measurement.error_ratio > self.most_error_ratio:
            missed.append(f"errors {measurement.error_ratio:.2%} > {self.most_error_ratio:.2%}")
        return missed


@dataclass(frozen=True)
class Report:
    """All measurements of one command against one target."""

    title: str
    measurements: tuple[Measurement, ...]
    goals: Goals

    @property
    def is_met(self) -> bool:
        return not any(self.goals.misses(each) for each in self.measurements)

    @property
    def is_void(self) -> bool:
        """Whether the generator was the limit in any measurement."""
        return any(each.verdict.generator_was_the_limit for each in self.measurements)


def as_text(report: Report) -> str:
    rows = [_HEADINGS, *(_row(each) for each in report.measurements)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEADINGS))]
    lines = [_aligned(row, widths) for row in rows]
    return "\n".join([report.title, "", *lines, "", *_remarks(report)]) + "\n"


def _aligned(row: Sequence[str], widths: Sequence[int]) -> str:
    """Words to the left, numbers to the right."""
    last = len(row) - 1
    cells = [
        f"{cell:<{width}}" if column in (0, last) else f"{cell:>{width}}"
        for column, (cell, width) in enumerate(zip(row, widths, strict=True))
    ]
    return "  ".join(cells).rstrip()


def _row(measurement: Measurement) -> tuple[str, ...]:
    percentiles = (*PERCENTILES, 100.0)
    return (
        load_name(measurement),
        f"{measurement.answered_per_second:,.1f}",
        *(duration(measurement.percentile(percent)) for percent in percentiles),
        f"{measurement.refused:,}",
        f"{measurement.failed:,}",
        _generator(measurement),
    )


def _generator(measurement: Measurement) -> str:
    return f"{measurement.generator_cpu_share:.0%} CPU, lag p99 {duration(measurement.lag_p99_seconds)}"


def load_name(measurement: Measurement) -> str:
    number = f"{measurement.clients_or_rate:,g}"
    if measurement.kind == "open":
        return f"{number}/s Poisson"
    return f"{number} client" if measurement.clients_or_rate == 1 else f"{number} clients"


def _remarks(report: Report) -> list[str]:
    """Refusals and failures by kind, the generator's ceiling, what was missed."""
    lines = []
    for each in report.measurements:
        name = load_name(each)
        lines += [f"{name}: {count:,} x {code}" + _refusal(each) for code, count in each.codes.items() if code >= 300]
        lines += [f"{name}: {count:,} x {kind}" for kind, count in each.failures.items()]
        if each.connection_waits:
            lines.append(f"{name}: {each.connection_waits:,} requests found all connections busy; their wait counts")
        if each.verdict.generator_was_the_limit:
            lines.append(f"{name}: VOID, {each.verdict.reason}; this says nothing about the server")
        lines += [f"{name}: missed, {miss}" for miss in report.goals.misses(each)]
    ceiling = max((each.ceiling_per_second for each in report.measurements), default=0.0)
    if ceiling:
        lines.append(f"this generator's ceiling here: about {_two_digits(ceiling):,} requests/s")
    if report.goals.objectives and report.is_met and not report.is_void:
        named = ", ".join(f"{each.name} ≤ {duration(each.seconds)}" for each in report.goals.objectives)
        lines.append(f"met: {named}")
    return lines


def _refusal(measurement: Measurement) -> str:
    return f", refusals answered within {duration(measurement.refusal_percentile(99))} at p99"


def _two_digits(number: float) -> int:
    """The ceiling is an estimate; more digits would lie."""
    return int(round(number, 1 - math.floor(math.log10(number))))


def duration(seconds: float) -> str:
    """Three significant digits or so, in µs, ms or s; a dash when there is none."""
    if math.isnan(seconds):
        return "-"
    if seconds < 0.0009995:
        return f"{seconds * 1e6:.0f} µs"
    if seconds < 0.9995:
        return f"{seconds * 1e3:.3g} ms" if seconds >= 0.1 else f"{seconds * 1e3:.2f} ms"
    return f"{seconds:.2f} s"


def as_json(report: Report) -> bytes:
    """Numbers in seconds and requests a second; percentiles of nothing are null."""
    document = {
        "target": report.title,
        "isMet": report.is_met,
        "generatorWasTheLimit": report.is_void,
        "objectives": [{"percent": each.percent, "seconds": each.seconds} for each in report.goals.objectives],
        "mostErrorRatio": report.goals.most_error_ratio,
        "measurements": [_measurement(each, report.goals) for each in report.measurements],
    }
    return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_NON_STR_KEYS) + b"\n"


def _measurement(measurement: Measurement, goals: Goals) -> dict[str, Any]:
    # orjson writes nan as null.
    return {
        "kind": measurement.kind,
        "clients" if measurement.kind == "closed" else "ratePerSecond": measurement.clients_or_rate,
        "seconds": measurement.seconds,
        "answered": measurement.answered,
        "answeredPerSecond": measurement.answered_per_second,
        "codes": measurement.codes,
        "failures": measurement.failures,
        "errorRatio": measurement.error_ratio,
        "latencySeconds": _percentiles(measurement.percentile),
        "refusalLatencySeconds": _percentiles(measurement.refusal_percentile),
        "generator": {
            "cpuShare": measurement.generator_cpu_share,
            "lagP99Seconds": measurement.lag_p99_seconds,
            "connectionWaits": measurement.connection_waits,
            "ceilingPerSecond": measurement.ceiling_per_second,
            "wasTheLimit": measurement.verdict.generator_was_the_limit,
            "reason": measurement.verdict.reason,
        },
        "missed": goals.misses(measurement),
    }


def _percentiles(percentile: Callable[[float], float]) -> dict[str, float]:
    named = {f"p{percent:g}": percentile(percent) for percent in PERCENTILES}
    return named | {"max": percentile(100)}
