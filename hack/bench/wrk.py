"""Closed loops by Debian's `wrk`: written in C, so that the client leaves most of two CPUs to the server.

`closed_loop` calls it where it is installed.
"""

import os
import re
import resource
import subprocess
import tempfile

from bench.errors import BenchError
from bench.loops import ClosedLoop
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


def run(server: Server, request: Request, *, clients: int, seconds: int) -> ClosedLoop:
    """BenchError when a single request was refused or failed."""
    began, busy = resource.getrusage(resource.RUSAGE_CHILDREN), busy_seconds()
    output = output_of(server, request, clients=clients, seconds=seconds)
    ended, busy = resource.getrusage(resource.RUSAGE_CHILDREN), busy_seconds() - busy
    cpu = ended.ru_utime + ended.ru_stime - began.ru_utime - began.ru_stime
    return parsed(output, server.name, cpu_seconds=cpu, busy_cpu_seconds=busy)


def output_of(server: Server, request: Request, *, clients: int, seconds: int) -> str:
    """What wrk prints, whether or not all went well."""
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
