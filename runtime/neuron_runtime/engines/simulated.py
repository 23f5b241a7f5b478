"""A NeuronCore that only takes time: a serial device with absolute deadlines. It needs no torch and no bundle.

Calls queue behind each other as they do on a core, whichever thread makes them, and a late wake-up does not push the
next call back. The answer to a row is its first values, so that tests can tell whose answer came back.
"""

import threading
import time
from collections.abc import Sequence

import numpy as np

from neuron_runtime.bundle import Bucket, TensorSpec
from neuron_runtime.messages import Start
from neuron_runtime.served_model import PLATFORMS, ServedModel
from neuron_runtime.tensors import Array

INPUT_VALUES = 16
OUTPUT_VALUES = 4
DEFAULT_NAME = "simulated"


def simulated_model(name: str | None, batch_size: int) -> ServedModel:
    """The built-in Tensor model: FP32 rows of 16 in, their first 4 values out, one bucket of `batch_size`."""
    return ServedModel(
        name=name or DEFAULT_NAME,
        version="1",
        task="Tensor",
        platform=PLATFORMS["simulated"],
        inputs=(TensorSpec(name="input", datatype="FP32", shape=(-1, INPUT_VALUES)),),
        outputs=(TensorSpec(name="output", datatype="FP32", shape=(-1, OUTPUT_VALUES)),),
        buckets=(Bucket(file="simulated", shapes={"input": (batch_size, INPUT_VALUES)}),),
    )


class SimulatedEngine:
    def __init__(self, start: Start) -> None:
        self._service_seconds = start.options["service_seconds"]
        self._free_at = 0.0
        self._lock = threading.Lock()

    def load(self) -> None:
        """There is nothing to load."""

    def run(self, bucket: int, inputs: Sequence[Array]) -> list[Array]:
        with self._lock:
            self._free_at = max(time.monotonic(), self._free_at) + self._service_seconds
            done_at = self._free_at
        while (left := done_at - time.monotonic()) > 0:
            time.sleep(left)
        return [np.ascontiguousarray(inputs[0][:, :OUTPUT_VALUES])]
