"""The simulated core is serial, whoever calls it."""

import threading
import time

import numpy as np

from neuron_runtime.engines.simulated import SimulatedEngine
from neuron_runtime.messages import Start

SERVICE_SECONDS = 0.02


def test_calls_from_two_threads_queue_behind_each_other() -> None:
    engine = SimulatedEngine(
        Start("simulated", "", ["FP32"], ["FP32"], [], [0], 2, {"service_seconds": SERVICE_SECONDS})
    )
    threads = [threading.Thread(target=engine.run, args=(0, [np.zeros((1, 16))])) for _ in range(4)]
    began = time.monotonic()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert time.monotonic() - began >= 4 * SERVICE_SECONDS


def test_a_row_answers_with_its_first_values() -> None:
    engine = SimulatedEngine(Start("simulated", "", ["FP32"], ["FP32"], [], [0], 2, {"service_seconds": 0.0}))
    rows = np.arange(32, dtype=np.float32).reshape(2, 16)

    assert engine.run(0, [rows])[0].tolist() == [[0, 1, 2, 3], [16, 17, 18, 19]]
