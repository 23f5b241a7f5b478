"""Rows as text: one for the terminal as it comes, and the tables of the document. Pure."""

from collections.abc import Sequence

from bench import table
from bench.findings import Finding
from operator_bench.figures import FIGURES
from operator_bench.peers import beside

HEADINGS = ("what", "target", "median", "least … most", "met", "others")


def line(finding: Finding) -> str:
    """One row of one run."""
    _, name, measured, _, target, verdict = table.row_of(finding)
    judged = f"  ({target}: {verdict})" if target else ""
    return f"{finding.figure}: {name}: {measured}{judged}" + (f"  {finding.note}" if finding.note else "")


def row_of(finding: Finding) -> tuple[str, ...]:
    _, name, measured, runs, target, verdict = table.row_of(finding)
    return (name, target, measured, runs, verdict, beside(finding.name))


def terminal(findings: Sequence[Finding]) -> str:
    rows = [HEADINGS, *map(row_of, findings)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows
    )


def markdown(findings: Sequence[Finding]) -> str:
    """A heading, a table and its notes for each figure that was taken."""
    parts = []
    for figure, what in FIGURES.items():
        found = sorted((one for one in findings if one.figure == figure), key=_models)
        if found:
            rows = [HEADINGS, tuple("---" for _ in HEADINGS), *map(row_of, found)]
            notes = [f"- {one.name}: {one.note}" for one in found if one.note]
            lines = ["| " + " | ".join(row) + " |" for row in rows] + ([""] if notes else []) + notes
            parts.append(f"### `{figure}`: {what}\n\n" + "\n".join(lines))
    return "\n\n".join(parts)


def _models(finding: Finding) -> int:
    """How many models the row is about; none sorts first, and equal ones stay as they are."""
    digits = finding.name.partition(" models")[0].replace(",", "")
    return int(digits) if digits.isdigit() else 0
