"""`python -m bench` from end to end, at a size that says whether it works and nothing about speed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from bench import results

ENVIRONMENT = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2] / "hack")}
pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False)


def test_smoke_run_prints_and_keeps_its_figures(tmp_path: Path) -> None:
    kept = tmp_path / "results.json"

    ran = bench("--smoke", "headline", "latency", "--results", str(kept))

    assert ran.returncode == 0, ran.stderr
    assert "share of the limit" in ran.stdout
    assert "added by the server, one client" in ran.stdout
    loaded = results.load(kept)
    assert loaded is not None
    assert {finding.figure for finding in loaded.findings} == {"headline", "latency"}
    assert all(finding.measured > 0 for finding in loaded.findings if finding.unit.endswith("/s"))
    assert set(loaded.scales.values()) == {"smoke"}


def test_every_server_is_ended_when_the_run_is_broken_off(tmp_path: Path) -> None:
    running = subprocess.Popen(
        [sys.executable, "-m", "bench", "--smoke", "headline", "--results", str(tmp_path / "results.json")],
        env=ENVIRONMENT,
        stderr=subprocess.PIPE,
    )
    with running:
        servers = wait_for_workers(running.pid)
        running.send_signal(signal.SIGTERM)
        running.communicate()

    assert running.returncode == 128 + signal.SIGTERM
    assert psutil.wait_procs(servers, timeout=60)[1] == []


def wait_for_workers(pid: int) -> list[psutil.Process]:
    """The server and both sides' workers, once there are some; the test's own timeout ends the wait."""
    while True:
        found = psutil.Process(pid).children(recursive=True)
        if sum("neuron_runtime.worker" in command_of(process) for process in found) > 2:
            return found
        time.sleep(0.05)


def command_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


def test_an_unknown_figure_is_refused_with_the_known() -> None:
    ran = bench("headlines")

    assert ran.returncode == 2
    assert "there is no figure 'headlines'; choose from headline, latency" in ran.stderr


def test_the_page_is_not_written_before_anything_was_measured(tmp_path: Path) -> None:
    ran = bench("docs", "--results", str(tmp_path / "none.json"))

    assert (ran.returncode, ran.stderr) == (1, "bench: there are no results yet; make bench measures them\n")
