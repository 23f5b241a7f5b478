"""Findings kept between commands, in the product's cache: a figure measured alone replaces only its own rows."""

import json
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.findings import Finding, from_json, to_json
from cluster.settings import from_environment


@dataclass(frozen=True)
class Results:
    """`scales` says at which size each figure was measured: figures of a short and a long run can be kept together."""

    machine: dict[str, str]
    scales: dict[str, str]
    findings: tuple[Finding, ...]


def default_path(*, is_smoke: bool) -> Path:
    """A smoke test's numbers mean nothing, so they never replace measured ones."""
    return from_environment(os.environ).cache / ("benchmark-smoke.json" if is_smoke else "benchmark-results.json")


def load(path: Path) -> Results | None:
    if not path.exists():
        return None
    document = json.loads(path.read_text())
    findings = tuple(map(from_json, document["findings"]))
    return Results(document["machine"], document["scales"], findings)


def save(path: Path, results: Results) -> None:
    document = {
        "machine": results.machine,
        "scales": results.scales,
        "findings": [to_json(finding) for finding in results.findings],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def updated(old: Results | None, machine: dict[str, str], scale: str, new: Sequence[Finding]) -> Results:
    """The old results with the figures measured now in place of theirs."""
    figures = {finding.figure for finding in new}
    kept = [finding for finding in old.findings if finding.figure not in figures] if old else []
    scales = {**(old.scales if old else {}), **dict.fromkeys(figures, scale)}
    return Results(machine, scales, (*kept, *new))
