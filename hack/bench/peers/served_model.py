"""What every peer serves, chosen by BENCH_MODEL: the simulated device or a TorchScript file. Imports only numpy.

The simulated device is that of the runtime's simulated engine, but shared by all processes of the peer, whatever number
it starts: serial cores with absolute deadlines, kept in a file. A call goes to the core that is free first.
"""

import fcntl
import importlib
import mmap
import os
import struct
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.float32]
Model = Callable[[Rows], Rows]
OUTPUT_VALUES = 4
MODEL, DEVICE_FILE, CORES, SERVICE_MS = "BENCH_MODEL", "BENCH_DEVICE_FILE", "BENCH_CORES", "BENCH_SERVICE_MS"
BATCH_SIZE, CALLS = "BENCH_BATCH_SIZE", "BENCH_CALLS"
BATCH_WINDOW_SECONDS = 0.002


def open_model() -> Model:
    """The model that the environment names."""
    path = os.environ[MODEL]
    if path != "simulated":
        return _torchscript(path)
    device = SharedDevice(Path(os.environ[DEVICE_FILE]), int(os.environ[CORES]), float(os.environ[SERVICE_MS]) / 1000)
    return device.run


def batch_size() -> int:
    return int(os.environ[BATCH_SIZE])


def calls() -> int:
    """Calls in flight over all cores: threads or processes, whichever the server has."""
    return int(os.environ[CALLS])


class SharedDevice:
    def __init__(self, path: Path, cores: int, service_seconds: float) -> None:
        """`path`: a file of at least 8 bytes for each core, zero at first."""
        self._service_seconds = service_seconds
        self._format = struct.Struct(f"<{cores}d")
        # Open for as long as the process lives.
        self._file = os.open(path, os.O_RDWR)
        self._free_at = mmap.mmap(self._file, self._format.size)
        self._threads = threading.Lock()

    def run(self, rows: Rows) -> Rows:
        done_at = self._reserve()
        while (left := done_at - time.monotonic()) > 0:
            time.sleep(left)
        return np.ascontiguousarray(rows[:, :OUTPUT_VALUES])

    def _reserve(self) -> float:
        """When the call that starts now will be done. The clock is the machine's, the same for every process."""
        with self._threads:
            fcntl.flock(self._file, fcntl.LOCK_EX)
            try:
                free_at = list(self._format.unpack_from(self._free_at))
                core = free_at.index(min(free_at))
                free_at[core] = max(time.monotonic(), free_at[core]) + self._service_seconds
                self._format.pack_into(self._free_at, 0, *free_at)
            finally:
                fcntl.flock(self._file, fcntl.LOCK_UN)
        return free_at[core]


def _torchscript(path: str) -> Model:
    torch: Any = importlib.import_module("torch")
    torch.set_num_threads(1)
    program = torch.jit.load(path)

    def run(rows: Rows) -> Rows:
        with torch.inference_mode():
            answer: Rows = program(torch.from_numpy(rows)).numpy()
        return answer

    return run
