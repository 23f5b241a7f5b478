"""A number of clients that each send their next request when the last is answered: by wrk, or by the runtime's bench.

The second is written in Python and takes more of the CPUs that it shares with the server, so wrk is preferred.
"""

import os
import shutil

import uvloop

from bench import wrk
from bench.errors import BenchError
from bench.loops import ClosedLoop
from bench.payload import Request
from bench.process_tree import busy_seconds
from bench.servers import Server
from neuron_runtime.benchmarking import load
from neuron_runtime.benchmarking.measurement import Measurement
from neuron_runtime.benchmarking.targets import TargetError, body_target


def has_wrk() -> bool:
    return shutil.which("wrk") is not None


def warm_up(server: Server, request: Request, *, clients: int, seconds: int) -> None:
    """The same load, for nothing: caches fill, pools grow, and what fails now is nobody's result."""
    if has_wrk():
        wrk.output_of(server, request, clients=clients, seconds=seconds)
    else:
        _measured(server, request, clients, seconds)


def closed_loop(server: Server, request: Request, *, clients: int, seconds: int) -> ClosedLoop:
    """BenchError when a single request was refused or failed."""
    if has_wrk():
        return wrk.run(server, request, clients=clients, seconds=seconds)
    busy = busy_seconds()
    measured = _measured(server, request, clients, seconds)
    return summarized(measured, server.name, busy_cpu_seconds=busy_seconds() - busy)


def summarized(measured: Measurement, server: str, *, busy_cpu_seconds: float) -> ClosedLoop:
    if measured.failed or measured.refused or not measured.completed:
        raise BenchError(f"{server}: not every request was answered: {measured.codes}, {measured.failures}")
    return ClosedLoop(
        requests=measured.completed,
        seconds=measured.seconds,
        p50_seconds=measured.percentile(50),
        p99_seconds=measured.percentile(99),
        generator_share=measured.generator_cpu_share,
        machine_share=busy_cpu_seconds / measured.seconds / (os.cpu_count() or 1),
    )


def _measured(server: Server, request: Request, clients: int, seconds: int) -> Measurement:
    target = body_target(server.url, request.path, request.body)
    try:
        return uvloop.run(load.closed_loop(target, clients=clients, seconds=seconds, warmup_seconds=0))
    except TargetError as error:
        raise BenchError(f"{server.name}: {error}") from error
