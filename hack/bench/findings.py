"""What was measured against what was wanted: plain values between the figures, the table and the plot. Pure."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence
from typing import Any, Literal

SHARE = "share"
"""The unit of what is a part of something: shown in percent."""
Sense = Literal["at least", "at most"]


@dataclasses.dataclass(frozen=True)
class Target:
    """A bound on what is measured."""

    sense: Sense
    value: float

    def is_met_by(self, measured: float) -> bool:
        return measured >= self.value if self.sense == "at least" else measured <= self.value


@dataclasses.dataclass(frozen=True)
class Finding:
    """One row of the table: the median of `runs`. `void` says why the number must not be read as a result."""

    figure: str
    name: str
    unit: str
    runs: tuple[float, ...]
    target: Target | None = None
    note: str = ""
    void: str = ""

    @property
    def measured(self) -> float:
        return statistics.median(self.runs)

    @property
    def verdict(self) -> str:
        if self.void:
            return "void"
        if self.target is None:
            return ""
        return "met" if self.target.is_met_by(self.measured) else "not met"


def ratios(numerators: Sequence[float], denominators: Sequence[float]) -> tuple[float, ...]:
    """Ratios within each run, never of numbers taken minutes apart: the machine's speed drifts."""
    return tuple(above / below for above, below in zip(numerators, denominators, strict=True))


def voided(findings: Sequence[Finding], why: str) -> list[Finding]:
    """The findings, void for that reason if there is one."""
    return [dataclasses.replace(finding, void=finding.void or why) for finding in findings]


def to_json(finding: Finding) -> dict[str, Any]:
    return {**dataclasses.asdict(finding), "measured": finding.measured, "verdict": finding.verdict}


def from_json(document: Mapping[str, Any]) -> Finding:
    """The finding `to_json` wrote; what it derives is derived again."""
    names = {field.name for field in dataclasses.fields(Finding)}
    given = {name: value for name, value in document.items() if name in names}
    target = Target(**given["target"]) if given.get("target") else None
    return Finding(**{**given, "runs": tuple(given["runs"]), "target": target})
