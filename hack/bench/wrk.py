"""Closed loops by Debian's `wrk`: written in C, so that the client leaves most of two CPUs to the server."""

import dataclasses
import os
import re
import resource
import shutil
import subprocess
import tempfile

from bench.errors import BenchError
from bench.payload import Request
from bench.process_tree import busy_seconds
from bench.servers import Server

_SCRIPT = """
wrk.method = "POST"
wrk.headers["Content-Type"] = "application/json"
wrk.body = [====[%s]====]
function done(summary, latency, requests)
  local errors = summary.errors
  io.write(string.format("RESULT requests=%%d us=%%d p50=%%d p99=%%d failed=%%d refused=%%d\\n", summary.requests,
    summary.duration, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.timeout, errors.status))
end
"""
_RESULT = re.compile(r"RESULT requests=(\d+) us=(\d+) p50=(\d+) p99=(\d+) failed=(\d+) refused=(\d+)")
GENERATOR_LIMIT = 0.95
MACHINE_LIMIT = 0.97


@dataclasses.dataclass(frozen=True)
class ClosedLoop:
    """One run. `generator_share` is the share of one CPU that wrk used, `machine_share` what of all CPUs was busy."""

    requests: int
    seconds: float
    p50_seconds: float
    p99_seconds: float
    generator_share: float
    machine_share: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def caveat(self) -> str:
        if self.generator_share > GENERATOR_LIMIT:
            return "wrk was the limit"
        if self.machine_share > MACHINE_LIMIT:
            return "all CPUs were busy, the client's share included"
        return ""


def warm_up(server: Server, request: Request, *, clients: int, seconds: int) -> None:
    """The same load, for nothing: caches fill, pools grow, and what fails now is nobody's result."""
    _run(server, request, clients, seconds)


def closed_loop(server: Server, request: Request, *, clients: int, seconds: int) -> ClosedLoop:
    """`clients` connections, each sending its next request when the last is answered. BenchError on any failure."""
    began, busy = resource.getrusage(resource.RUSAGE_CHILDREN), busy_seconds()
    output = _run(server, request, clients, seconds)
    ended, busy = resource.getrusage(resource.RUSAGE_CHILDREN), busy_seconds() - busy
    cpu = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    return parsed(output, server.name, cpu_seconds=cpu, busy_cpu_seconds=busy)


def _run(server: Server, request: Request, clients: int, seconds: int) -> str:
    if shutil.which("wrk") is None:
        raise BenchError("wrk is not installed; on Debian: apt-get install wrk")
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        script.write(_SCRIPT % request.body.decode())
        script.flush()
        command = ["wrk", "-t1", f"-c{clients}", f"-d{seconds}s", "--timeout", "30s", "-s", script.name]
        ran = subprocess.run([*command, server.url + request.path], capture_output=True, text=True, check=False)
    return ran.stdout + ran.stderr


def parsed(output: str, server: str, *, cpu_seconds: float, busy_cpu_seconds: float) -> ClosedLoop:
    """wrk's own summary; a single failed or refused request makes the run worthless."""
    match = _RESULT.search(output)
    if match is None:
        raise BenchError(f"wrk against {server} ended without a result: {output.strip()[-500:]}")
    requests, microseconds, p50, p99, failed, refused = map(int, match.groups())
    if failed or refused or not requests:
        raise BenchError(f"{server}: of {requests} requests {refused} were refused and {failed} failed")
    seconds = microseconds / 1e6
    return ClosedLoop(
        requests=requests,
        seconds=seconds,
        p50_seconds=p50 / 1e6,
        p99_seconds=p99 / 1e6,
        generator_share=cpu_seconds / seconds,
        machine_share=busy_cpu_seconds / seconds / (os.cpu_count() or 1),
    )
