"""A verification as JSON for programs and as a page for people. Pure; all that tests said passes `without_secrets`.

The report is made to be sent to strangers: it holds versions, names of tests, outcomes, and what failing tests said.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from hardware.contract_run import FileRun, Outcome

SCHEMA = "neuron-serving/hardware-report/1"
MESSAGE_LENGTH = 2000
# What might stand in a traceback or a log line without anyone having meant to show it.
_SECRETS = (
    (re.compile(r"\b(?:AKIA|ASIA)[A-Z0-9]{16}\b"), "<access key>"),
    (re.compile(r"\barn:aws[\w-]*:\S+"), "<arn>"),
    (re.compile(r"(?i)\b(\w*(?:secret|token|password|credential)\w*)\b(['\"]?\s*[:=]\s*)\S+"), r"\1\2<hidden>"),
    (re.compile(r"\b(?:\d{1,3}\.){3}\d{1,3}\b"), "<address>"),
    (re.compile(r"\b(?:i|vpc|subnet|sg|eni|ami|vol)-[0-9a-f]{8,17}\b"), "<id>"),
    (re.compile(r"\bip(?:-\d{1,3}){4}\b"), "<host>"),
    (re.compile(r"\b\d{12}\b"), "<account>"),
    (re.compile(r"[A-Za-z0-9/+=]{40,}"), "<long text>"),
)


@dataclass(frozen=True)
class Verification:
    """`created` is a date and time in UTC; `private` are texts that must not appear, such as the host's name."""

    emulated: bool
    created: str
    versions: Mapping[str, str]
    runs: Sequence[FileRun]
    private: Sequence[tuple[str, str]] = ()

    @property
    def is_good(self) -> bool:
        return bool(self.runs) and all(run.is_good for run in self.runs)


def without_secrets(text: str, private: Sequence[tuple[str, str]] = ()) -> str:
    """`private` is pairs of a text and what to put in its place."""
    for secret, shown in private:
        if secret:
            text = text.replace(secret, shown)
    for pattern, shown in _SECRETS:
        text = pattern.sub(shown, text)
    return text


def as_json(verification: Verification) -> str:
    document = {
        "schema": SCHEMA,
        "emulated": verification.emulated,
        "created": verification.created,
        "passed": verification.is_good,
        "versions": {name: without_secrets(version) for name, version in verification.versions.items()},
        "files": [_file(run, verification.private) for run in verification.runs],
    }
    return json.dumps(document, indent=2) + "\n"


def _file(run: FileRun, private: Sequence[tuple[str, str]]) -> dict[str, object]:
    return {
        "file": run.file,
        "seconds": round(run.seconds, 1),
        "trouble": _shown(run.trouble, private),
        "tests": [
            {
                "name": test.name,
                "outcome": test.outcome,
                "seconds": round(test.seconds, 2),
                "message": _shown(test.message, private),
            }
            for test in run.outcomes
        ],
    }


def _shown(text: str, private: Sequence[tuple[str, str]]) -> str:
    """Its end, where a traceback says what is wrong."""
    return without_secrets(text, private)[-MESSAGE_LENGTH:]


def as_markdown(verification: Verification) -> str:
    return "\n".join(_lines(verification)) + "\n"


def summary(verification: Verification) -> str:
    tests = [test for run in verification.runs for test in run.outcomes]
    counts = {kind: sum(test.outcome == kind for test in tests) for kind in ("passed", "failed", "error", "skipped")}
    told = ", ".join(f"{count} {kind}" for kind, count in counts.items() if count) or "no test ran"
    troubled = sum(bool(run.trouble) for run in verification.runs)
    return told + (f"; {troubled} of {len(verification.runs)} files did not run to their end" if troubled else "")


def _lines(verification: Verification) -> Iterator[str]:
    where = "the emulator (this proves nothing about Neuron)" if verification.emulated else "Neuron hardware"
    yield f"# Contract tests on {where}\n"
    yield f"{verification.created}: {summary(verification)}.\n"
    yield "| | version |"
    yield "|---|---|"
    for name, version in verification.versions.items():
        yield f"| {name} | {without_secrets(version)} |"
    for run in verification.runs:
        yield f"\n## {run.file}\n"
        yield "| test | outcome | seconds |"
        yield "|---|---|---|"
        for test in run.outcomes:
            yield f"| {test.name} | {test.outcome} | {test.seconds:.2f} |"
        yield from _details(run, verification.private)


def _details(run: FileRun, private: Sequence[tuple[str, str]]) -> Iterator[str]:
    troubles = [Outcome(run.file, "error", run.seconds, run.trouble)] if run.trouble else []
    for test in [*troubles, *(test for test in run.outcomes if test.message)]:
        yield f"\n`{test.name}`:\n"
        yield from (f"    {line}" for line in _shown(test.message, private).splitlines())
