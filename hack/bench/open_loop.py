"""Open loops: requests that come when they come (Poisson), whether or not earlier ones are answered.

The generator is the runtime's own `bench` command; latencies count from when a request was due.
"""

import dataclasses
from collections.abc import Sequence
from typing import Generic, TypeVar

import uvloop

from bench.errors import BenchError
from bench.payload import Request
from bench.servers import Server
from neuron_runtime.benchmarking.load import open_loop
from neuron_runtime.benchmarking.measurement import Measurement
from neuron_runtime.benchmarking.targets import TargetError, body_target

T = TypeVar("T", bound=tuple[Measurement, ...])


@dataclasses.dataclass(frozen=True)
class Offered:
    """What is sent for how long. The same seed means the same arrivals for both sides of a comparison."""

    per_second: float
    seconds: float
    warmup_seconds: float
    seed: int
    most_connections: int = 512


def poisson(server: Server, request: Request, offered: Offered) -> Measurement:
    target = body_target(server.url, request.path, request.body)
    try:
        return uvloop.run(
            open_loop(
                target,
                rate_per_second=offered.per_second,
                seconds=offered.seconds,
                warmup_seconds=offered.warmup_seconds,
                seed=offered.seed,
                most_connections=offered.most_connections,
            )
        )
    except TargetError as error:
        raise BenchError(f"{server.name}: {error}") from error


def all_answered(server: Server, measurement: Measurement) -> Measurement:
    """The measurement, if nothing was refused or lost: for loads that the server must carry."""
    if measurement.failed or measurement.refused:
        raise BenchError(
            f"{server.name}: not every request was answered: codes {measurement.codes}, failures {measurement.failures}"
        )
    return measurement


@dataclasses.dataclass(frozen=True)
class Kept(Generic[T]):
    """The rounds that count, and a note about the others. If most are void, all are here and `void` says why."""

    rounds: tuple[T, ...]
    note: str = ""
    void: str = ""


def sort_out(rounds: Sequence[T]) -> Kept[T]:
    """A round counts if the generator kept up in all its measurements."""
    reasons = [next(filter(None, map(caveat, measurements)), "") for measurements in rounds]
    good = tuple(measurements for measurements, reason in zip(rounds, reasons, strict=True) if not reason)
    first = next(filter(None, reasons), "")
    if 2 * len(good) <= len(rounds):
        return Kept(tuple(rounds), void=first)
    return Kept(good, note=f"{len(rounds) - len(good)} of {len(rounds)} runs are void: {first}" if first else "")


def caveat(measurement: Measurement) -> str:
    """Why the figure says more about the generator than about the server; empty when it does not."""
    verdict = measurement.verdict
    return verdict.reason if verdict.generator_was_the_limit else ""
