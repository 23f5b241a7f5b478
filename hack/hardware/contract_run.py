"""Runs the contract tests as they are, one file per pytest process, because a process keeps its cores until it ends.

What came of each test was written by `outcomes`, loaded into that process; of one that crashed, its last words count.
"""

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hardware.machine import ROOT
from hardware.outcomes import FILE_VARIABLE

CONTRACT = ROOT / "tests" / "emulator" / "contract"
FILE_SECONDS = 3600.0
LAST_LINES = 30
# Enough to find programs, libraries and the cores; what else is in the environment might be a secret.
PASSED_ON = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR", "VIRTUAL_ENV")
PASSED_ON_PREFIXES = ("NEURON_RT_", "NEURON_CC_", "NEURONX_")


@dataclass(frozen=True)
class Outcome:
    """Of one test. `outcome` is passed, failed, error or skipped."""

    name: str
    outcome: str
    seconds: float
    message: str = ""


@dataclass(frozen=True)
class FileRun:
    """Of one file. `trouble` says why there may be fewer outcomes than tests; empty when pytest ran to its end."""

    file: str
    seconds: float
    outcomes: Sequence[Outcome]
    trouble: str = ""

    @property
    def is_good(self) -> bool:
        return not self.trouble and bool(self.outcomes) and all(test.outcome == "passed" for test in self.outcomes)


def contract_files(only: str = "") -> list[Path]:
    return [path for path in sorted(CONTRACT.glob("test_*.py")) if only in path.name]


def passed_on(environment: Mapping[str, str]) -> dict[str, str]:
    """What the tests get to see of the environment."""
    return {
        name: value for name, value in environment.items() if name in PASSED_ON or name.startswith(PASSED_ON_PREFIXES)
    }


def run_file(path: Path, environment: Mapping[str, str], limit_seconds: float = FILE_SECONDS) -> FileRun:
    """Warnings are errors in this repository, but not those of packages that are not ours. What tests/conftest.py needs
    does not have to be installed."""
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="verify-on-hardware-") as folder:
        written = Path(folder) / "outcomes.jsonl"
        written.touch()
        variables = {**environment, "PYTHONPATH": str(ROOT / "hack"), FILE_VARIABLE: str(written)}
        flags = ["--tb=short", "--quiet", "-W", "default", "-p", "hardware.outcomes", f"--confcutdir={CONTRACT.parent}"]
        said, trouble = _run([sys.executable, "-m", "pytest", *flags, str(path)], variables, limit_seconds)
        outcomes = [Outcome(**json.loads(line)) for line in written.read_text().splitlines()]
    if not outcomes and not trouble:
        trouble = f"no test was run:\n{said}"
    return FileRun(path.name, time.monotonic() - began, outcomes, trouble)


def _run(command: Sequence[str], environment: Mapping[str, str], limit_seconds: float) -> tuple[str, str]:
    """The last lines of what was said, and why it did not end as pytest does."""
    with tempfile.TemporaryFile("w+", errors="replace") as output:
        process = subprocess.Popen(
            command, cwd=ROOT, env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT
        )
        try:
            code = process.wait(limit_seconds)
            trouble = "" if code in (0, 1) else f"pytest ended with {code}"
        except subprocess.TimeoutExpired:
            trouble = f"pytest was ended after {limit_seconds:g} s"
        finally:
            process.kill()
            process.wait()
        output.seek(0)
        said = "".join(output.readlines()[-LAST_LINES:])
    return said, f"{trouble}:\n{said}" if trouble else ""
