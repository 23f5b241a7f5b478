"""Findings as text: for the terminal in columns, for the document in Markdown. Pure."""

import math
from collections.abc import Sequence

from bench.findings import SHARE, Finding

HEADINGS = ("figure", "what", "median", "least … most", "target", "verdict")
MOST_NAMED = 3


def terminal(findings: Sequence[Finding]) -> str:
    rows = [HEADINGS, *map(row_of, findings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    figures = list(dict.fromkeys(finding.figure for finding in findings))
    remarks = [
        f"{figure}: {remark}"
        for figure in figures
        for remark in remarks_of([finding for finding in findings if finding.figure == figure])
    ]
    return "\n".join([*lines, *remarks])


def markdown(findings: Sequence[Finding]) -> str:
    """The rows of one figure, whose name is in the heading above."""
    rows = [HEADINGS[1:], tuple("---" for _ in HEADINGS[1:]), *(row_of(finding)[1:] for finding in findings)]
    return _lines(rows, remarks_of(findings))


def summary(findings: Sequence[Finding]) -> str:
    """Of all figures, what has a target."""
    rows = [HEADINGS, tuple("---" for _ in HEADINGS), *(row_of(finding) for finding in findings if finding.target)]
    return _lines(rows, [])


def row_of(finding: Finding) -> tuple[str, ...]:
    target = f"{_sign(finding)} {_number(finding.target.value, finding.unit)}" if finding.target else ""
    few = [_number(value, finding.unit) for value in (min(finding.runs), max(finding.runs))]
    runs = " … ".join(few) if len(finding.runs) > 1 else ""
    unit = "" if finding.unit == SHARE else f" {finding.unit}"
    return (finding.figure, finding.name, _number(finding.measured, finding.unit) + unit, runs, target, finding.verdict)


def remarks_of(findings: Sequence[Finding]) -> list[str]:
    """Notes and reasons for being void of one figure, each once, with the rows it is about."""
    names: dict[str, list[str]] = {}
    for finding in findings:
        if remark := finding.void or finding.note:
            names.setdefault(remark, []).append(finding.name)
    return [f"{_about(named, len(findings))}: {remark}" for remark, named in names.items()]


def _about(named: Sequence[str], rows: int) -> str:
    return ", ".join(named) if len(named) <= MOST_NAMED else f"{len(named)} of {rows} rows"


def _lines(rows: Sequence[Sequence[str]], remarks: Sequence[str]) -> str:
    lines = ["| " + " | ".join(row) + " |" for row in rows]
    return "\n".join([*lines, "", *(f"- {remark}" for remark in remarks)]).rstrip()


def _sign(finding: Finding) -> str:
    assert finding.target is not None, "asked only where there is a target"
    return "≥" if finding.target.sense == "at least" else "≤"


def _number(value: float, unit: str) -> str:
    """Shares in percent; else three significant digits, whole numbers in full."""
    if math.isnan(value):
        return "none"
    if unit == SHARE:
        return f"{value:.1%}".replace(".0%", "%")
    if abs(value) >= 1000:
        return f"{value:,.0f}"
    if abs(value) >= 100:
        return f"{value:.0f}"
    return f"{value:.3g}"
