"""neuron-monitor as a supervised child: read its reports, keep the newest, start it again when it ends.

Its figures are extra: whatever it does, inference goes on, and `neuron_monitor_up` says why there are none. The
mapping of its reports to metrics is `monitor_report`'s.
"""

import asyncio
import logging
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from neuron_runtime.child_processes import kill
from neuron_runtime.metrics import Metrics
from neuron_runtime.monitor_report import FAMILIES, UP, Family, Report, monitor_config, read_report

log = logging.getLogger("neuron_runtime.neuron_monitor")

INSTALLED_AT = Path("/opt/aws/neuron/bin/neuron-monitor")
PERIOD = "1s"
SILENCE_SECONDS = 30.0
FIRST_PAUSE_SECONDS = 0.5
LONGEST_PAUSE_SECONDS = 30.0
LINE_LIMIT_BYTES = 4 * 2**20


class MonitorMetrics(Collector):
    """The newest report and the counters summed over all of them, as Prometheus reads them."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._newest: Report | None = None
        self._seen_at = 0.0
        self._totals: dict[tuple[Family, tuple[str, ...]], float] = {}
        self.trouble = "no report yet"

    def take(self, report: Report) -> None:
        self._newest = report
        if report.tags:
            self._seen_at = self._clock()
        for sample in report.samples:
            if sample.family.kind == "counter":
                key = (sample.family, sample.labels)
                self._totals[key] = self._totals.get(key, 0.0) + sample.value

    def status(self) -> str:
        """Empty while our workers are being reported, else the reason why not."""
        if self._seen_at and self._clock() - self._seen_at <= SILENCE_SECONDS:
            return ""
        if self._newest is not None and not self._newest.tags:
            return "neuron-monitor reports none of this pod's workers"
        if self._seen_at:
            return f"no report for {SILENCE_SECONDS:.0f} s ({self.trouble})"
        return self.trouble

    def collect(self) -> Iterator[Metric]:
        reason = self.status()
        up = GaugeMetricFamily(UP.name, UP.help, labels=UP.labels)
        up.add_metric([reason], 0.0 if reason else 1.0)
        yield up
        values = dict(self._totals)
        if self._newest is not None and not reason:
            for sample in self._newest.samples:
                values.setdefault((sample.family, sample.labels), sample.value)
        for family in FAMILIES:
            rows = [(labels, value) for (other, labels), value in values.items() if other is family]
            if rows:
                yield _metric(family, rows)

    def describe(self) -> Iterator[Metric]:
        """Nothing: the registry then does not collect at registration."""
        return iter(())


def _metric(family: Family, rows: list[tuple[tuple[str, ...], float]]) -> Metric:
    if family.kind == "info":
        info = InfoMetricFamily(family.name, family.help)
        for labels, _ in rows:
            info.add_metric([], dict(zip(family.labels, labels, strict=True)))
        return info
    kind = CounterMetricFamily if family.kind == "counter" else GaugeMetricFamily
    metric = kind(family.name, family.help, labels=family.labels)
    for labels, value in rows:
        metric.add_metric(labels, value)
    return metric


class NeuronMonitor:
    def __init__(self, tag_prefix: str, environment: Mapping[str, str], metrics: Metrics) -> None:
        self._tag_prefix = tag_prefix
        self._environment = environment
        self._metrics = metrics
        self.collector = MonitorMetrics()
        metrics.registry.register(self.collector)

    async def run(self) -> None:
        """Keep it running until canceled."""
        binary = find_binary(self._environment)
        if binary is None:
            self.collector.trouble = "neuron-monitor is not installed in this container"
            return
        pause = FIRST_PAUSE_SECONDS
        with tempfile.NamedTemporaryFile(prefix="neuron-monitor-", suffix=".json") as config:
            config.write(monitor_config(f"^{re.escape(self._tag_prefix)}", PERIOD))
            config.flush()
            while True:
                began = time.monotonic()
                await self._one_life(binary, config.name)
                if time.monotonic() - began > SILENCE_SECONDS:
                    pause = FIRST_PAUSE_SECONDS
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE_SECONDS, pause * 2)
                self._metrics.monitor_restarts.inc()

    async def _one_life(self, binary: str, config: str) -> None:
        try:
            process = await asyncio.create_subprocess_exec(
                binary,
                "-c",
                config,
                env=dict(self._environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                limit=LINE_LIMIT_BYTES,
            )
        except OSError as error:
            self.collector.trouble = f"neuron-monitor cannot be started: {error.strerror}"
            return
        assert process.stdout is not None, "the process was started with a pipe"
        try:
            await self._read(process.stdout)
        finally:
            kill(process)
            code = await process.wait()
        self.collector.trouble = f"neuron-monitor ended (exit code {code})"
        log.warning("neuron-monitor ended", extra={"exitCode": code})

    async def _read(self, stream: asyncio.StreamReader) -> None:
        """Its reports until it ends, or until it has been silent so long that it must hang."""
        node_name = self._environment.get("NODE_NAME", "")
        while True:
            try:
                line = await asyncio.wait_for(stream.readline(), SILENCE_SECONDS)
            except TimeoutError:
                return
            except ValueError:  # a line beyond the limit
                self._metrics.monitor_bad_lines.inc()
                continue
            if not line:
                return
            report = read_report(line, self._tag_prefix, node_name)
            if report is None:
                self._metrics.monitor_bad_lines.inc()
                self.collector.trouble = "neuron-monitor writes lines that are no report"
            else:
                self.collector.take(report)


def find_binary(environment: Mapping[str, str]) -> str | None:
    """neuron-monitor on the PATH, or where the Neuron tools package puts it."""
    found = shutil.which("neuron-monitor", path=environment.get("PATH"))
    return found or (str(INSTALLED_AT) if INSTALLED_AT.exists() else None)
