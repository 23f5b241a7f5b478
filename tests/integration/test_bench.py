"""`python -m bench` from end to end, at a size that says whether it works and nothing about speed."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from bench import results

ROOT = Path(__file__).parents[2]
pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]
needs_wrk = pytest.mark.skipif(shutil.which("wrk") is None, reason="closed loops are driven by wrk")


def bench(*arguments: str) -> "subprocess.CompletedProcess[str]":
    environment = {**os.environ, "PYTHONPATH": str(ROOT / "hack")}
    command = [sys.executable, "-m", "bench", *arguments]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@needs_wrk
def test_smoke_run_prints_and_keeps_its_figures_and_leaves_no_process(tmp_path: Path) -> None:
    kept = tmp_path / "results.json"

    ran = bench("--smoke", "headline", "latency", "--results", str(kept))

    assert ran.returncode == 0, ran.stderr
    assert "share of the limit" in ran.stdout
    assert "added by the server, one client" in ran.stdout
    loaded = results.load(kept)
    assert loaded is not None
    assert {finding.figure for finding in loaded.findings} == {"headline", "latency"}
    assert all(finding.measured > 0 for finding in loaded.findings if finding.unit.endswith("/s"))
    assert json.loads(kept.read_text())["scale"] == "smoke"
    assert [process for process in psutil.process_iter(["cmdline"]) if started_by(process)] == []


def started_by(process: psutil.Process) -> bool:
    """The echo and the limit's process are started by nothing else."""
    return bool({"bench.echo", "bench.limit_process"} & set(process.info["cmdline"] or []))


def test_an_unknown_figure_is_refused_with_the_known() -> None:
    ran = bench("headlines")

    assert ran.returncode == 2
    assert "there is no figure 'headlines'; choose from headline, latency" in ran.stderr


def test_the_page_is_not_written_before_anything_was_measured(tmp_path: Path) -> None:
    ran = bench("docs", "--results", str(tmp_path / "none.json"))

    assert (ran.returncode, ran.stderr) == (1, "bench: there are no results yet; make bench measures them\n")
