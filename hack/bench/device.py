"""The simulated device of a figure: the server's flags for it, the workers' start message, and one bare call to it."""

import dataclasses
import statistics
import time

import numpy as np

from neuron_runtime.benchmark_rows import DeviceRow
from neuron_runtime.engines.simulated import INPUT_VALUES, SimulatedEngine
from neuron_runtime.messages import Program, Start

MODEL = "simulated"


@dataclasses.dataclass(frozen=True)
class SimulatedDevice:
    """Serial cores that take `service_ms` for a batch, `in_flight` calls queued on each."""

    cores: int
    batch_size: int
    in_flight: int
    service_ms: float

    @property
    def service_seconds(self) -> float:
        return self.service_ms / 1000

    @property
    def rows_per_second(self) -> float:
        """By arithmetic; what the workers reach is a little less and is measured."""
        return self.cores * self.batch_size / self.service_seconds

    @property
    def clients(self) -> int:
        """Enough for every core to have its calls in flight and as many more waiting."""
        return 4 * self.batch_size * self.cores

    @property
    def arguments(self) -> tuple[str, ...]:
        return (str(self.cores), str(self.batch_size), str(self.in_flight), str(self.service_ms))

    @property
    def flags(self) -> tuple[str, ...]:
        """For `neuron-runtime serve`."""
        names = ("--cores", "--max-batch-size", "--in-flight", "--simulated-service-ms")
        pairs = zip(names, self.arguments, strict=True)
        return ("--engine", "simulated", *(word for pair in pairs for word in pair))


def of_row(row: DeviceRow) -> SimulatedDevice:
    return SimulatedDevice(row.cores, row.batch_size, row.in_flight, row.service_seconds * 1000)


def start_message(device: SimulatedDevice) -> Start:
    """What the front process tells a worker of this device."""
    return Start(
        engine="simulated",
        bundle="",
        input_datatypes=["FP32"],
        output_datatypes=["FP32"],
        programs=[Program(MODEL, [(device.batch_size, INPUT_VALUES)])],
        pad_values=[0],
        in_flight=device.in_flight,
        options={"service_seconds": device.service_seconds},
    )


def bare_call_p50(device: SimulatedDevice, seconds: float) -> float:
    """Median seconds of calls to one core by nobody but the caller, one after another: the floor of every latency."""
    engine = SimulatedEngine(start_message(device))
    batch = np.ones((device.batch_size, INPUT_VALUES), np.float32)
    took: list[float] = []
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        began = time.monotonic()
        engine.run(0, [batch])
        took.append(time.monotonic() - began)
    return statistics.median(took)
