"""Rows of AWS's published Inf2 results as a simulated device: service time, cores, calls in flight, batch. Pure but for
reading the table that ships with the package.

The table gives throughput and median latency; throughput * p50 / batch is the number of executions in flight. A core is
a serial server, so a batch takes batch * cores / throughput (Neuron documentation, "Inf2 Inference Performance").
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib import resources

from neuron_runtime.termination import FatalError, Reason

_CORES = {"inf2.xlarge": 2, "inf2.8xlarge": 2, "inf2.24xlarge": 12, "inf2.48xlarge": 24}
_COPIED_THROUGHPUT = {("bert-base-cased", "real-time")}
"""Its throughput, 41.24/s, is that of another row of the table and contradicts its own latency of 1.02 ms."""


@dataclass(frozen=True)
class DeviceRow:
    """One row, ready to be simulated. `name` is MODEL:batch or MODEL:real-time."""

    name: str
    cores: int
    in_flight: int
    batch_size: int
    service_seconds: float


@cache
def device_rows() -> dict[str, DeviceRow]:
    """Every row that says enough to be simulated, by name."""
    return {row.name: row for row in _parsed()}


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


def _parsed() -> Iterator[DeviceRow]:
    text = resources.files("neuron_runtime").joinpath("data/inf2-benchmarks.csv").read_text(encoding="utf-8")
    for record in csv.DictReader(text.splitlines()):
        mode = record["application_type"].lower().replace(" ", "-")
        skipped = record["throughput_unit"] != "inferences/s" or (record["model"], mode) in _COPIED_THROUGHPUT
        if skipped or record["instance_type"] not in _CORES:
            continue
        yield _row(f"{record['model']}:{mode}", record)


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
