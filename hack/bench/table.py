"""Findings as text: for the terminal in columns, for the document in Markdown. Pure."""

import math
from collections.abc import Sequence

from bench.findings import Finding

HEADINGS = ("figure", "what", "median", "least … most", "target", "verdict")


def row_of(finding: Finding) -> tuple[str, ...]:
    target = f"{_sign(finding)} {_number(finding.target.value)}" if finding.target else ""
    runs = f"{_number(min(finding.runs))} … {_number(max(finding.runs))}" if len(finding.runs) > 1 else ""
    measured = f"{_number(finding.measured)} {finding.unit}".strip()
    return (finding.figure, finding.name, measured, runs, target, finding.verdict)


def terminal(findings: Sequence[Finding]) -> str:
    rows = [HEADINGS, *map(row_of, findings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, *_remarks(findings)])


def markdown(findings: Sequence[Finding]) -> str:
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *map(row_of, findings)]
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {remark}" for remark in _remarks(findings))]).rstrip()


def _remarks(findings: Sequence[Finding]) -> list[str]:
    """Notes and reasons for being void, each once: what holds for several rows of a figure is said of the figure."""
    names: dict[tuple[str, str], list[str]] = {}
    for finding in findings:
        if remark := finding.void or finding.note:
            names.setdefault((finding.figure, remark), []).append(finding.name)
    return [
        f"{figure}, {named[0]}: {remark}" if len(named) == 1 else f"{figure}: {remark}"
        for (figure, remark), named in names.items()
    ]


def _sign(finding: Finding) -> str:
    assert finding.target is not None, "asked only where there is a target"
    return "≥" if finding.target.sense == "at least" else "≤"


def _number(value: float) -> str:
    """Three significant digits, whole numbers in full."""
    if math.isnan(value):
        return "none"
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
