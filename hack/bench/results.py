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
    machine: dict[str, str]
    scale: str
    findings: tuple[Finding, ...]


def default_path() -> Path:
    return from_environment(os.environ).cache / "benchmarks.json"


def load(path: Path) -> Results | None:
    if not path.exists():
        return None
    document = json.loads(path.read_text())
    findings = tuple(map(from_json, document["findings"]))
    return Results(document["machine"], document["scale"], findings)


def save(path: Path, results: Results) -> None:
    document = {
        "machine": results.machine,
        "scale": results.scale,
        "findings": [to_json(finding) for finding in results.findings],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")


def merged(old: Sequence[Finding], new: Sequence[Finding]) -> tuple[Finding, ...]:
    """The old findings, those of the figures measured now replaced, in the order of first appearance."""
    replaced = {finding.figure for finding in new}
    kept = [finding for finding in old if finding.figure not in replaced]
    return (*kept, *new)
