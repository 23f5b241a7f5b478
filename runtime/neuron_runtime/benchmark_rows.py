"""Rows of AWS's published Inf2 results as a simulated device: service time, cores, calls in flight, batch. Pure but for
reading the two tables that ship with the package: the published one, and one that says of each row what it is good for.

The table gives throughput and median latency; throughput * p50 / batch is the number of executions in flight. A core is
a serial server, so a batch takes batch * cores / throughput (Neuron documentation, "Inf2 Inference Performance").
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from functools import cache
from importlib import resources

from neuron_runtime.termination import FatalError, Reason

_CORES = {"inf2.xlarge": 2, "inf2.8xlarge": 2, "inf2.24xlarge": 12, "inf2.48xlarge": 24}


class Replay(StrEnum):
    """Whether a published row can be replayed as a load on a server, and if not, why."""

    YES = "yes"
    SLOW = "slow"
    """A device all the same, but too slow to fill within a run."""
    CORRUPT = "corrupt"
    COPY = "copy"
    """The table has the same line twice."""
    TOKENS = "tokens"
    """One model over many cores that generates tokens: not batches of rows."""


_SIMULATED = frozenset({Replay.YES, Replay.SLOW})


@dataclass(frozen=True)
class DeviceRow:
    """One row, ready to be simulated. `name` is MODEL:batch or MODEL:real-time."""

    name: str
    cores: int
    in_flight: int
    batch_size: int
    service_seconds: float


@dataclass(frozen=True)
class Judgment:
    """What data/inf2-replay.csv says of row `number` (from 1) of the published table."""

    number: int
    name: str
    replay: Replay
    reason: str


@cache
def device_rows() -> dict[str, DeviceRow]:
    """Every row that says enough to be simulated, by name."""
    return {row.name: row for row in _rows(_SIMULATED)}


def replayable_rows() -> list[DeviceRow]:
    """The rows that a benchmark replays, in the order of the published table."""
    return list(_rows(frozenset({Replay.YES})))


def find_row(name: str) -> DeviceRow:
    """The row of this name; a bare model name means its batch row, or its real-time row if it has no other."""
    rows = device_rows()
    for candidate in (name, f"{name}:batch", f"{name}:real-time"):
        if candidate in rows:
            return rows[candidate]
    raise FatalError(
        Reason.INVALID_CONFIGURATION,
        f"there is no benchmark row '{name}' that can be simulated",
        hint="use one of " + ", ".join(sorted(rows)),
    )


def published() -> list[dict[str, str]]:
    """AWS's table as it is."""
    return _read("inf2-benchmarks.csv")


@cache
def judgments() -> tuple[Judgment, ...]:
    """One for each published row, in the same order."""
    return tuple(
        Judgment(int(line["row"]), f"{line['model']}:{line['mode']}", Replay(line["replay"]), line["reason"])
        for line in _read("inf2-replay.csv")
    )


def _read(name: str) -> list[dict[str, str]]:
    text = resources.files("neuron_runtime").joinpath("data", name).read_text(encoding="utf-8")
    return list(csv.DictReader(text.splitlines()))


def _rows(wanted: frozenset[Replay]) -> Iterator[DeviceRow]:
    for record, judgment in zip(published(), judgments(), strict=True):
        if judgment.replay in wanted:
            yield _row(judgment.name, record)


def _row(name: str, record: dict[str, str]) -> DeviceRow:
    batch_size = int(record["batch_size"])
    throughput = float(record["throughput"])
    executions = max(1, round(throughput * float(record["latency_p50_ms"]) / 1000 / batch_size))
    # A row with fewer executions in flight than cores used only that many of them.
    cores = min(_CORES[record["instance_type"]], executions)
    return DeviceRow(
        name=name,
        cores=cores,
        in_flight=max(1, round(executions / cores)),
        batch_size=batch_size,
        service_seconds=batch_size * cores / throughput,
    )
