"""Usage: python -m hardware [--emulated]. Runs the contract tests against a real torch_neuronx and neuron-monitor.

Exit status: 0 when every test passed, 1 when one did not, 2 when this machine cannot run them. Either way but the last
a report is written, in JSON and as a page, that holds no secrets and can be sent.
"""

import argparse
import getpass
import os
import socket
import sys
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from hardware.contract_run import FILE_SECONDS, FileRun, contract_files, passed_on, run_file
from hardware.machine import ROOT, find_machine, missing, versions
from hardware.report import Verification, as_json, as_markdown, summary


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parsed(arguments)
    environment = passed_on(os.environ)
    lacking = missing(find_machine(environment), emulated=options.emulated)
    files = contract_files(options.only)
    if not files:
        lacking.append(f"no contract test is called like {options.only!r}")
    if lacking:
        print("verify-on-hardware cannot run here:", *(f"  - {sentence}" for sentence in lacking), sep="\n")
        print("Nothing was run. With --emulated the tests run against the emulator, to see what a report looks like.")
        return 2
    runs = []
    for path in files:
        print(f"{path.name} …", flush=True)
        runs.append(run_file(path, environment, options.file_seconds))
        _tell(runs[-1])
    return _write(options.output, Verification(options.emulated, _now(), versions(), runs, _private()))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m hardware", description=__doc__)
    parser.add_argument("--emulated", action="store_true", help="run against the emulator where nothing real is found")
    parser.add_argument("--only", default="", help="only files whose name holds this text")
    parser.add_argument("--output", type=Path, default=ROOT / "build" / "hardware-report", help="folder of the report")
    parser.add_argument("--file-seconds", type=float, default=FILE_SECONDS, help="the most that one file may take")
    return parser.parse_args(arguments)


def _tell(run: FileRun) -> None:
    for test in run.outcomes:
        print(f"  {test.outcome:8}{test.name} ({test.seconds:.1f} s)")
    if run.trouble:
        print(f"  trouble: {run.trouble}")


def _write(folder: Path, verification: Verification) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "report.json").write_text(as_json(verification))
    (folder / "report.md").write_text(as_markdown(verification))
    print(f"{summary(verification)}\nThe report, to read and to send: {folder / 'report.md'}, {folder / 'report.json'}")
    return 0 if verification.is_good else 1


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="seconds")


def _private() -> list[tuple[str, str]]:
    """Of this host and user, what a traceback may show. The longest first, since one may hold another."""
    known = [
        (str(ROOT), "<repository>"),
        (str(Path.home()) if Path.home() != Path("/") else "", "~"),
        (socket.gethostname(), "<host>"),
        (getpass.getuser() if getpass.getuser() != "root" else "", "<user>"),
    ]
    return sorted(known, key=lambda pair: -len(pair[0]))


if __name__ == "__main__":
    sys.exit(main())
