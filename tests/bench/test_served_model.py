"""The simulated device that the other servers are given: as serial as ours, and one for all processes of a server."""

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from bench.peers.served_model import SharedDevice

SERVICE_SECONDS = 0.02
ROWS = np.arange(32, dtype=np.float32).reshape(2, 16)


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    path = tmp_path / "device"
    path.write_bytes(bytes(64))
    return path


def test_a_row_answers_with_its_first_values(shared: Path) -> None:
    assert SharedDevice(shared, 2, 0.0).run(ROWS).tolist() == [[0, 1, 2, 3], [16, 17, 18, 19]]


def test_calls_of_several_processes_queue_on_the_same_cores(shared: Path) -> None:
    """Each opens the file for itself, as processes do."""
    openings = [SharedDevice(shared, 2, SERVICE_SECONDS) for _ in range(6)]
    began = time.monotonic()

    with ThreadPoolExecutor(len(openings)) as threads:
        list(threads.map(lambda device: device.run(ROWS), openings))

    assert time.monotonic() - began >= 3 * SERVICE_SECONDS
