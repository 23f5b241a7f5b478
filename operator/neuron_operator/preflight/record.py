"""Remembers what stands of each preflight check, and says what is news. Pure; preflight/watch.py acts on it.

What fails must go on failing for a while before it counts: a node that has just booted has no device plugin yet, and
the scheduler extension writes its map a moment before the pod that it is for has its node. That is measured for each
node by itself, so that nodes which come one after the other make no failure together.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Final

from neuron_operator.preflight.checks import Check, Finding, Outcome

CONFIRMED_AFTER_S: Final = 60.0


@dataclass
class Record:
    """`standing` is what counts of each check now; a check whose first failure is not confirmed yet has nothing."""

    confirmed_after_s: float = CONFIRMED_AFTER_S
    standing: dict[Check, Finding] = field(default_factory=dict)
    _failing_since: dict[tuple[Check, str], float] = field(default_factory=dict)

    def take(self, findings: Iterable[Finding], now_s: float) -> tuple[Finding, ...]:
        """Note what was found at that moment; the findings whose outcome is another than what stood before.

        | found   | for as long as is asked | stands from now on          |
        |---------|-------------------------|-----------------------------|
        | pass    | whatever                | pass                        |
        | unknown | whatever                | unknown                     |
        | fail    | yes, some node or all   | fail, on these nodes        |
        | fail    | not yet                 | what stood before           |
        """
        found = tuple(findings)
        self._note_failures(found, now_s)
        settled = [kept for finding in found if (kept := self._confirmed(finding, now_s)) is not None]
        news = [new for new in settled if self._outcome(new.check) != new.outcome]
        self.standing |= {new.check: new for new in settled}
        return tuple(news)

    def next_look_s(self, now_s: float) -> float | None:
        """In how many seconds a failure is confirmed if it is still there; None when none waits for that."""
        ends = (since + self.confirmed_after_s - now_s for since in self._failing_since.values())
        return min((left for left in ends if left > 0), default=None)

    def _note_failures(self, findings: tuple[Finding, ...], now_s: float) -> None:
        failing = {place for finding in findings for place in _places(finding)}
        self._failing_since = {place: self._failing_since.get(place, now_s) for place in failing}

    def _confirmed(self, finding: Finding, now_s: float) -> Finding | None:
        if finding.outcome is not Outcome.FAILED:
            return finding
        places = _places(finding)
        lasting = [node for check, node in places if self._failing_since[check, node] + self.confirmed_after_s <= now_s]
        return replace(finding, nodes=tuple(node for node in lasting if node)) if lasting else None

    def _outcome(self, check: Check) -> Outcome | None:
        known = self.standing.get(check)
        return known.outcome if known is not None else None


def _places(finding: Finding) -> list[tuple[Check, str]]:
    """Where a check fails: on each node, or in the cluster as a whole."""
    if finding.outcome is not Outcome.FAILED:
        return []
    return [(finding.check, node) for node in finding.nodes or ("",)]
