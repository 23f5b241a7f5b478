"""Rows kept between commands, in the product's cache: a row measured again replaces the one of its name."""

import json
import os
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench.findings import Finding, from_json, to_json
from cluster.settings import from_environment


@dataclass(frozen=True)
class Results:
    machine: dict[str, str]
    findings: tuple[Finding, ...]


def default_path() -> Path:
    return from_environment(os.environ).cache / "operator-benchmark-results.json"


def load(path: Path) -> Results | None:
    if not path.exists():
        return None
    document = json.loads(path.read_text())
    return Results(document["machine"], tuple(map(from_json, document["findings"])))


def save(path: Path, results: Results) -> None:
    document = {"machine": results.machine, "findings": [to_json(finding) for finding in results.findings]}
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def gathered(runs: Iterable[Finding]) -> tuple[Finding, ...]:
    """Rows of single runs by their names, in the order in which each came first; the newest note is kept."""
    rows: dict[tuple[str, str], Finding] = {}
    for finding in runs:
        key = (finding.figure, finding.name)
        known = rows.get(key)
        rows[key] = (
            finding
            if known is None
            else replace(finding, runs=(*known.runs, *finding.runs), note=finding.note or known.note)
        )
    return tuple(rows.values())


def updated(old: Results | None, machine: dict[str, str], new: Sequence[Finding]) -> Results:
    """The old rows, with those measured now in the place of theirs."""
    measured = {(finding.figure, finding.name) for finding in new}
    kept = [finding for finding in old.findings if (finding.figure, finding.name) not in measured] if old else []
    return Results(machine, (*kept, *new))
