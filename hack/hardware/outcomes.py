"""A pytest plugin (-p hardware.outcomes): each test's outcome, as a line of JSON, the moment it is known.

A test that takes the process down with it, as native code can, then leaves what the others had come to.
"""

import json
import os
from pathlib import Path

import pytest

FILE_VARIABLE = "HARDWARE_OUTCOMES_FILE"


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    if report.when == "call" or not report.passed:
        is_error = report.failed and report.when != "call"
        _write(report.nodeid, "error" if is_error else report.outcome, report.duration, report.longreprtext)


def pytest_collectreport(report: pytest.CollectReport) -> None:
    if report.failed:
        _write(report.nodeid, "error", 0.0, report.longreprtext)


def _write(nodeid: str, outcome: str, seconds: float, message: str) -> None:
    line = {"name": nodeid.partition("::")[2] or nodeid, "outcome": outcome, "seconds": seconds, "message": message}
    with Path(os.environ[FILE_VARIABLE]).open("a") as file:
        file.write(json.dumps(line) + "\n")
