"""The emulated Neuron runtime of this process: claims cores, places programs on them, runs them one at a time.

The counterpart of libnrt. `operators` calls it from TorchScript; `placement` moves what is loaded. A core is a
serial server: executions of several threads queue at it. The interpreter lock is free while a program runs.
"""

import itertools
import os
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import torch

from emulated_node import nrt
from emulated_node.claims import claim
from emulated_node.counters import CounterFile, Execution, LoadedProgram
from emulated_node.faults import Faults
from emulated_node.node import Node
from emulated_node.speed import Speed
from emulated_node.visibility import core_request
from torch_neuronx.program import Header, from_bytes

_EXECUTION_TIMEOUT_SECONDS = 30.0


class Runtime:
    """The node as this process owns it. There is one, made at the first load (nrt_init)."""

    def __init__(self) -> None:
        node = Node.from_environment()
        self.tag = os.environ.get("NEURON_PROCESS_TAG", "")[:255] or str(os.getpid())
        self.faults = Faults(node, self.tag)
        linger_seconds = self.faults.stands("core_busy_after_kill") or 0.0
        try:
            self.cores = claim(node, core_request(os.environ, node.facts), self.tag, linger_seconds)
        except nrt.NrtError as error:
            print(f"{time.strftime('%Y-%b-%d %H:%M:%S')} ERROR {error}", file=sys.stderr, flush=True)
            raise
        print(
            f"neuron-emulator: EMULATED NeuronCores {list(self.cores)} of {node.facts.instance_type}; "
            "no Neuron silicon is involved",
            file=sys.stderr,
            flush=True,
        )
        self.core_memory_bytes = node.facts.core_memory_bytes
        self.speed = Speed(node)
        self.counters = CounterFile(node, self.tag, self.cores)
        self.busy = {core: threading.Lock() for core in self.cores}
        self.model_ids = itertools.count(10001)
        self._loaded: dict[int, LoadedProgram] = {}
        self._lock = threading.RLock()  # an unload may come from the garbage collector, inside any call

    def choose_cores(self, first: int, count: int) -> tuple[int, ...]:
        """`first` and `count` as placement calls give them: indexes among this process's cores, -1 for free choice."""
        wanted = 1 if count == -1 else count
        if first == -1:
            loads = Counter(core for program in self._loaded.values() for core in program.cores)
            first = min(range(len(self.cores) - wanted + 1), key=lambda at: loads[self.cores[at]], default=-1)
        if wanted < 1 or first < 0 or first + wanted > len(self.cores):
            raise ValueError(f"no {wanted} NeuronCores from nc:{first} on; this process has {len(self.cores)}")
        return self.cores[first : first + wanted]

    def load(self, header: Header, size_bytes: int, first: int, count: int) -> LoadedProgram:
        with self._lock:
            cores = self.choose_cores(first, count)
            self._fail_injected(cores[0])
            program = LoadedProgram(header.name, header.uuid, next(self.model_ids), cores, size_bytes, size_bytes)
            limit = self.faults.stands("device_memory") or self.core_memory_bytes
            for core in cores:
                used = sum(other.device_bytes for other in self._loaded.values() if core in other.cores)
                if used + size_bytes > limit:
                    raise nrt.load_error(4)
            self._loaded[program.model_id] = program
        self.counters.loaded(program)
        return program

    def unload(self, program: LoadedProgram) -> None:
        with self._lock:
            self._loaded.pop(program.model_id, None)
        self.counters.unloaded(program.model_id)

    def _fail_injected(self, core: int) -> None:
        time.sleep(self.faults.strike("slow_load", core) or 0.0)
        status = self.faults.strike("load_status", core)
        if status is not None:
            raise nrt.load_error(int(status))


_runtimes: list[Runtime] = []  # none or one
_runtime_lock = threading.Lock()


def runtime() -> Runtime:
    """This process's runtime; the first call claims its cores, a failed claim is tried again by the next."""
    with _runtime_lock:
        if not _runtimes:
            _runtimes.append(Runtime())
        return _runtimes[0]


@dataclass
class Model:
    """One ScriptModule's program: loaded at once, in the background or at its first execution."""

    header: Header
    program: torch.Tensor
    first_core: int = -1
    core_count: int = -1
    _placed: LoadedProgram | None = None
    _module: torch.jit.ScriptModule | None = None
    _turns: "itertools.count[int]" = field(default_factory=itertools.count)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def load(self) -> tuple[LoadedProgram, torch.jit.ScriptModule]:
        with self._lock:
            if self._placed is None:
                self._placed = runtime().load(self.header, self.program.numel(), self.first_core, self.core_count)
            if self._module is None:
                self._module = from_bytes(self.program)
            return self._placed, self._module

    def unload(self) -> None:
        with self._lock:
            if self._placed is not None:
                runtime().unload(self._placed)
            self._placed = self._module = None

    def move(self, first_core: int, core_count: int) -> None:
        """Unload, and load again elsewhere."""
        with self._lock:
            self.unload()
            self.first_core, self.core_count = first_core, core_count
            self.load()

    def execute(self, inputs: list[torch.Tensor]) -> list[torch.Tensor]:
        started = time.monotonic()
        placed, module = self.load()
        self.header.refuse_other_shapes(inputs)
        core = placed.cores[next(self._turns) % len(placed.cores)]
        here = runtime()
        with here.busy[core]:
            at_core = time.monotonic()
            status = _injected_failure(here, core)
            outputs: list[torch.Tensor] = []
            if status is None:
                with torch.no_grad():
                    outputs = list(module(*inputs))
                _take_at_least(here.speed.least_seconds(self.header.batch_size), at_core)
            ended = time.monotonic()
        summary, error = ("completed", None) if status is None else nrt.counters_of(status)
        operations = 0.0 if status is not None else self.header.operations
        here.counters.record(Execution(core, ended - at_core, ended - started, operations, summary, error))
        if status is not None:
            raise nrt.execution_error(status)
        return outputs


def _injected_failure(here: Runtime, core: int) -> int | None:
    """Be slow or hang as told; the status with which this execution fails, or None."""
    time.sleep(here.faults.strike("slow_execution", core) or 0.0)
    hang = here.faults.strike("execution_hang", core)
    if hang is not None:
        timeout = float(os.environ.get("NEURON_RT_EXEC_TIMEOUT") or _EXECUTION_TIMEOUT_SECONDS)
        if hang < 0:
            threading.Event().wait()
        time.sleep(min(hang, timeout))
        return 5 if hang >= timeout else None
    status = here.faults.strike("execution_status", core)
    return None if status is None else int(status)


def _take_at_least(seconds: float, started: float) -> None:
    remaining = seconds - (time.monotonic() - started)
    if remaining > 0:
        time.sleep(remaining)
