"""The supervised child, with scripts in the place of neuron-monitor: reports, garbage, silence, death."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, generate_latest

from neuron_runtime.metrics import Metrics
from neuron_runtime.monitor_report import read_report
from neuron_runtime.neuron_monitor import SILENCE_SECONDS, MonitorMetrics, NeuronMonitor

LINE = (
    '{"neuron_runtime_data": [{"neuron_runtime_tag": "us/nc0", "report": {"execution_stats": '
    '{"execution_summary": {"completed": 3}}}}], "instance_info": {}}'
)


@asynccontextmanager
async def monitored(folder: Path, script: str) -> AsyncIterator[Metrics]:
    binary = folder / "neuron-monitor"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    metrics = Metrics(CollectorRegistry())
    task = asyncio.create_task(NeuronMonitor("us/", {"PATH": f"{folder}:/usr/bin:/bin"}, metrics).run())
    try:
        yield metrics
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def scraped(metrics: Metrics, wanted: str) -> str:
    """The page once it holds `wanted`; scraped again and again, as Prometheus would."""
    for _ in range(1000):
        page = generate_latest(metrics.registry).decode()
        if wanted in page:
            return page
        await asyncio.sleep(0.02)
    raise AssertionError(f"{wanted!r} never came up in:\n{page}")


async def test_reports_become_metrics_and_counters_add_up(tmp_path: Path) -> None:
    async with monitored(tmp_path, f"echo '{LINE}'; echo '{LINE}'; exec sleep 60") as metrics:
        page = await scraped(metrics, 'status_type="completed",subnet_id=""} 6.0')

        assert 'neuron_monitor_up{reason=""} 1.0' in page


async def test_garbage_is_counted_and_survived(tmp_path: Path) -> None:
    async with monitored(tmp_path, f"echo no json; echo '{{'; echo '{LINE}'; exec sleep 60") as metrics:
        page = await scraped(metrics, 'status_type="completed",subnet_id=""} 3.0')

        assert "neuron_monitor_unreadable_lines_total 2.0" in page


async def test_it_is_started_again_when_it_ends(tmp_path: Path) -> None:
    async with monitored(tmp_path, "exit 3") as metrics:
        page = await scraped(metrics, "neuron_monitor_restarts_total 1.0")

        assert 'neuron_monitor_up{reason="neuron-monitor ended (exit code 3)"} 0.0' in page


async def test_neighbors_only_is_down_with_the_reason(tmp_path: Path) -> None:
    async with monitored(tmp_path, f"echo '{LINE.replace('us/', 'them/')}'; exec sleep 60") as metrics:
        page = await scraped(metrics, 'reason="neuron-monitor reports none of this pod\'s workers"} 0.0')

        assert "execution_status_total{" not in page


async def test_without_the_binary_it_says_so(tmp_path: Path) -> None:
    metrics = Metrics(CollectorRegistry())
    monitor = NeuronMonitor("us/", {"PATH": str(tmp_path)}, metrics)

    await monitor.run()

    assert monitor.collector.status() == "neuron-monitor is not installed in this container"


def test_silence_is_down_but_counters_stay() -> None:
    now = 1000.0
    collector = MonitorMetrics(clock=lambda: now)
    report = read_report(LINE.encode(), "us/", "")
    assert report is not None
    collector.take(report)
    now += SILENCE_SECONDS + 1

    families = {family.name: family for family in collector.collect()}

    assert families["neuron_monitor_up"].samples[0].value == 0
    assert families["execution_status"].samples[0].value == 3
