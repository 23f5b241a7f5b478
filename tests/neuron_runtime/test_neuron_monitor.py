"""The supervised child, with scripts in the place of neuron-monitor: reports, garbage, silence, death."""

import asyncio
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from neuron_runtime.metrics import Metrics
from neuron_runtime.neuron_monitor import LINE_LIMIT_BYTES, MOST_BAD_LINES, NeuronMonitor, Pace

LINE = (
    '{"neuron_runtime_data": [{"neuron_runtime_tag": "us/nc0", "report": {"execution_stats": '
    '{"execution_summary": {"completed": 3}}}}], "instance_info": {}}'
)
# Long enough that no slow machine takes a live script for a silent one.
PATIENT = Pace(silence_seconds=60.0, first_pause_seconds=0.01)
HASTY = Pace(silence_seconds=0.5, first_pause_seconds=0.01, longest_pause_seconds=0.05)


@asynccontextmanager
async def monitored(folder: Path, script: str, pace: Pace = PATIENT) -> AsyncIterator[Metrics]:
    binary = folder / "neuron-monitor"
    binary.write_text(f"#!/bin/sh\n{script}\n")
    binary.chmod(0o755)
    metrics = Metrics(CollectorRegistry())
    environment = {"PATH": f"{folder}:/usr/bin:/bin", "FOLDER": str(folder), "NODE_NAME": "node-a"}
    task = asyncio.create_task(NeuronMonitor("us/", environment, metrics, pace).run())
    try:
        yield metrics
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def scraped(metrics: Metrics, *wanted: str) -> str:
    """The page once it holds all that is `wanted`; scraped again and again, as Prometheus would."""
    for _ in range(1500):
        page = generate_latest(metrics.registry).decode()
        if all(text in page for text in wanted):
            return page
        await asyncio.sleep(0.02)
    raise AssertionError(f"{wanted!r} never came up in:\n{page}")


async def restarted(metrics: Metrics) -> None:
    for _ in range(1500):
        if metrics.monitor_restarts.value:
            return
        await asyncio.sleep(0.02)
    raise AssertionError("it was never started again")


async def test_reports_become_metrics_and_counters_add_up(tmp_path: Path) -> None:
    async with monitored(tmp_path, f"echo '{LINE}'; echo '{LINE}'; exec sleep 60") as metrics:
        page = await scraped(metrics, 'status_type="completed",subnet_id=""} 6.0')

        assert 'neuron_monitor_up{reason=""} 1.0' in page
        assert 'instance_name="node-a"' in page


async def test_garbage_is_counted_and_survived(tmp_path: Path) -> None:
    async with monitored(tmp_path, f"echo no json; echo '{{'; echo '{LINE}'; exec sleep 60") as metrics:
        page = await scraped(metrics, 'status_type="completed",subnet_id=""} 3.0')

        assert "neuron_monitor_unreadable_lines_total 2.0" in page


async def test_a_report_in_two_halves_is_one_report(tmp_path: Path) -> None:
    script = f"printf '%s' '{LINE[:50]}'; sleep 0.2; echo '{LINE[50:]}'; exec sleep 60"
    async with monitored(tmp_path, script) as metrics:
        page = await scraped(metrics, 'status_type="completed",subnet_id=""} 3.0')

        assert "neuron_monitor_unreadable_lines_total 0.0" in page


async def test_an_enormous_line_is_dropped_and_the_next_one_read(tmp_path: Path) -> None:
    script = f"head -c {4 * LINE_LIMIT_BYTES} /dev/zero | tr '\\0' x; echo; echo '{LINE}'; exec sleep 60"
    async with monitored(tmp_path, script) as metrics:
        page = await scraped(metrics, 'status_type="completed",subnet_id=""} 3.0')

        assert "neuron_monitor_unreadable_lines_total 0.0" not in page
        assert "neuron_monitor_restarts_total 0.0" in page


@pytest.mark.parametrize("nonsense", ["yes nonsense", "tr '\\0' x < /dev/zero"])
async def test_endless_nonsense_is_ended_and_started_again(
    tmp_path: Path, nonsense: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with monitored(tmp_path, f"exec {nonsense}") as metrics:
        await restarted(metrics)

    trouble = f"neuron-monitor wrote {MOST_BAD_LINES} lines in a row that are no report"
    assert caplog.records[0].__dict__["trouble"] == trouble


async def test_nonsense_with_reports_in_between_is_borne(tmp_path: Path) -> None:
    nonsense = f"seq {MOST_BAD_LINES - 1}"
    async with monitored(tmp_path, f"{nonsense}; echo '{LINE}'; {nonsense}; echo '{LINE}'; exec sleep 60") as metrics:
        await scraped(metrics, 'status_type="completed",subnet_id=""} 6.0')

    assert metrics.monitor_restarts.value == 0
    assert metrics.monitor_bad_lines.value == 2 * (MOST_BAD_LINES - 1)


async def test_it_is_started_again_when_it_ends(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with monitored(tmp_path, "echo no driver >&2; exit 3") as metrics:
        await restarted(metrics)
        await scraped(metrics, 'neuron_monitor_up{reason="neuron-monitor ended (exit code 3)"} 0.0')

    assert caplog.records[0].__dict__["lastWords"] == "no driver"


async def test_half_a_line_at_its_end_is_no_report(tmp_path: Path) -> None:
    async with monitored(tmp_path, f"printf '%s' '{LINE[:50]}'; exit 0") as metrics:
        await restarted(metrics)

    assert metrics.monitor_bad_lines.value >= 1


def process_of_first_life(folder: Path) -> Path:
    return Path("/proc") / (folder / "lived").read_text().strip()


async def test_a_hung_one_is_killed_and_the_next_one_reports(tmp_path: Path) -> None:
    """Alive, silent, deaf to SIGTERM; the second life is well."""
    script = f"""
trap '' TERM
if [ -e "$FOLDER/lived" ]; then while :; do echo '{LINE}'; sleep 0.05; done; fi
echo $$ > "$FOLDER/born" && mv "$FOLDER/born" "$FOLDER/lived"
exec sleep 600"""
    async with monitored(tmp_path, script, HASTY) as metrics:
        await restarted(metrics)
        await scraped(metrics, 'neuron_monitor_up{reason=""} 1.0')

    assert not process_of_first_life(tmp_path).exists()


async def test_chatter_without_reports_is_a_hang_too(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async with monitored(tmp_path, "while :; do echo busy; sleep 0.1; done", HASTY) as metrics:
        await restarted(metrics)

    assert caplog.records[0].__dict__["trouble"] == "neuron-monitor hung: no report for 0.5 s"


async def test_neighbors_only_is_down_with_the_reason(tmp_path: Path) -> None:
    async with monitored(tmp_path, f"echo '{LINE.replace('us/', 'them/')}'; exec sleep 60") as metrics:
        page = await scraped(metrics, 'reason="neuron-monitor reports none of this pod\'s workers"} 0.0')

        assert "execution_status_total{" not in page


async def test_what_a_report_lacks_is_counted_by_its_key_and_logged_once(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with monitored(tmp_path, f"echo '{LINE}'; echo '{LINE}'; exec sleep 60") as metrics:
        await scraped(metrics, 'neuron_monitor_schema_differences_total{key="neuron_hardware_info"} 2.0')

    (told,) = [record.__dict__["keys"] for record in caplog.records if "lacks" in record.message]
    assert "runtime.report.memory_used" in told
    assert "runtime.report.execution_stats.error_summary" in told


async def test_without_the_binary_it_says_so(tmp_path: Path) -> None:
    metrics = Metrics(CollectorRegistry())
    monitor = NeuronMonitor("us/", {"PATH": str(tmp_path)}, metrics)

    await monitor.run()

    assert monitor.collector.status() == "neuron-monitor is not installed in this container"


async def test_a_file_that_is_no_program_says_so(tmp_path: Path) -> None:
    async with monitored(tmp_path, "") as metrics:
        (tmp_path / "neuron-monitor").write_bytes(b"\x7fELF nothing")
        await scraped(metrics, 'neuron_monitor_up{reason="neuron-monitor cannot be started: Exec format error"} 0.0')


async def test_a_full_disk_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "missing"))
    async with monitored(tmp_path, "exit 0") as metrics:
        await scraped(metrics, "neuron-monitor's configuration cannot be written: No such file or directory")
