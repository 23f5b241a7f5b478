"""neuron-monitor as a supervised child: read its reports, and start it again when it ends, hangs or writes nonsense.

Its figures are extra: whatever it does, inference goes on, and `neuron_monitor_up` says why there are none. What its
reports mean is `monitor_report`'s, how they are scraped `monitor_metrics`'.
"""

import asyncio
import logging
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from neuron_runtime.child_processes import kill
from neuron_runtime.metrics import Metrics
from neuron_runtime.monitor_metrics import SILENCE_SECONDS, MonitorMetrics
from neuron_runtime.monitor_report import Report, monitor_config, read_report

log = logging.getLogger("neuron_runtime.neuron_monitor")

INSTALLED_AT = Path("/opt/aws/neuron/bin/neuron-monitor")
PERIOD = "1s"
LINE_LIMIT_BYTES = 2**20
MOST_BAD_LINES = 100
"""In a row; whoever writes so much nonsense is not going to stop."""
LAST_WORDS_BYTES = 2000
LAST_WORDS_SECONDS = 1.0


@dataclass(frozen=True)
class Pace:
    """How long a silence is a hang, and how long to wait before the next start: doubled after each short life."""

    silence_seconds: float = SILENCE_SECONDS
    first_pause_seconds: float = 0.5
    longest_pause_seconds: float = 30.0


class NeuronMonitor:
    def __init__(
        self, tag_prefix: str, environment: Mapping[str, str], metrics: Metrics, pace: Pace | None = None
    ) -> None:
        self._tag_prefix = tag_prefix
        self._environment = environment
        self._metrics = metrics
        self._pace = pace or Pace()
        self._known_differences: set[str] = set()
        self.collector = MonitorMetrics(self._pace.silence_seconds)
        metrics.registry.register(self.collector)

    async def run(self) -> None:
        """Keep it running until canceled."""
        binary = find_binary(self._environment)
        if binary is None:
            self._lament("neuron-monitor is not installed in this container")
            return
        with ExitStack() as stack:
            try:
                config = stack.enter_context(_config_file(monitor_config(f"^{re.escape(self._tag_prefix)}", PERIOD)))
            except OSError as error:
                self._lament(f"neuron-monitor's configuration cannot be written: {error.strerror}")
                return
            await self._lives(binary, config)

    async def _lives(self, binary: str, config: str) -> None:
        pause = self._pace.first_pause_seconds
        while True:
            was_useful = await self._one_life(binary, config)
            if was_useful:
                pause = self._pace.first_pause_seconds
            await asyncio.sleep(pause)
            pause = min(self._pace.longest_pause_seconds, pause * 2)
            self._metrics.monitor_restarts.inc()

    async def _one_life(self, binary: str, config: str) -> bool:
        """Whether it reported for at least as long as a silence may last."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        try:
            process = await asyncio.create_subprocess_exec(
                binary,
                "-c",
                config,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                limit=LINE_LIMIT_BYTES,
            )
        except OSError as error:
            self._lament(f"neuron-monitor cannot be started: {error.strerror}")
            return False
        assert process.stdout is not None, "the process was started with pipes"
        assert process.stderr is not None, "the process was started with pipes"
        words = asyncio.create_task(_last_words(process.stderr))
        try:
            try:
                last_report_at, trouble = await self._read(process.stdout)
            finally:
                code = await _end(process)
            heard, _ = await asyncio.wait([words], timeout=LAST_WORDS_SECONDS)
        finally:
            words.cancel()
        said = words.result() if heard else ""
        self._lament(trouble or f"neuron-monitor ended (exit code {code})", lastWords=said)
        return last_report_at - began > self._pace.silence_seconds

    async def _read(self, stream: asyncio.StreamReader) -> tuple[float, str]:
        """Its reports, until it ends or has to be ended: when the last one came (0: never), and why it has to."""
        loop = asyncio.get_running_loop()
        last_report_at, patient_until = 0.0, loop.time() + self._pace.silence_seconds
        bad_lines = 0
        while bad_lines < MOST_BAD_LINES:
            try:
                async with asyncio.timeout_at(patient_until):
                    line = await stream.readline()
            except TimeoutError:
                return last_report_at, f"neuron-monitor hung: no report for {self._pace.silence_seconds:g} s"
            except ValueError:  # a line beyond the limit; what came of it is dropped
                line = b"too long"
            if not line:
                return last_report_at, ""
            report = read_report(line, self._tag_prefix, self._environment)
            if report is None:
                bad_lines += 1
                self._metrics.monitor_bad_lines.inc()
                self.collector.trouble = "neuron-monitor writes lines that are no report"
                continue
            bad_lines = 0
            last_report_at = loop.time()
            patient_until = last_report_at + self._pace.silence_seconds
            self._take(report)
            await asyncio.sleep(0)  # reports that are there already are read without ever waiting
        return last_report_at, f"neuron-monitor wrote {MOST_BAD_LINES} lines in a row that are no report"

    def _take(self, report: Report) -> None:
        self.collector.take(report)
        for key in report.differences:
            self._metrics.monitor_differences.labels(key).inc()
        if unknown := report.differences - self._known_differences:
            self._known_differences |= unknown
            log.warning("neuron-monitor's report lacks what is documented", extra={"keys": sorted(unknown)})

    def _lament(self, trouble: str, **facts: str) -> None:
        self.collector.trouble = trouble
        log.warning("no figures from neuron-monitor", extra={"trouble": trouble, **facts})


def find_binary(environment: Mapping[str, str]) -> str | None:
    """neuron-monitor on the PATH, or where the Neuron tools package puts it."""
    found = shutil.which("neuron-monitor", path=environment.get("PATH"))
    return found or (str(INSTALLED_AT) if INSTALLED_AT.exists() else None)


@contextmanager
def _config_file(content: bytes) -> Iterator[str]:
    with tempfile.NamedTemporaryFile(prefix="neuron-monitor-", suffix=".json") as file:
        file.write(content)
        file.flush()
        yield file.name


async def _end(process: asyncio.subprocess.Process) -> int:
    """Kill it unless it has ended, and its exit code. A cancellation waits for that too: after SIGKILL, a moment."""
    kill(process)
    waiting = asyncio.ensure_future(process.wait())
    try:
        return await asyncio.shield(waiting)
    except asyncio.CancelledError:
        await waiting
        raise


async def _last_words(stream: asyncio.StreamReader) -> str:
    """The end of what it said on standard error: why it ended, if it said so."""
    said = b""
    while chunk := await stream.read(4096):
        said = (said + chunk)[-LAST_WORDS_BYTES:]
    return said.decode(errors="replace").strip()
