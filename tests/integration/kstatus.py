"""What kstatus, the library that Flux and kpt wait with, makes of objects: the real one, built by the cluster tool."""

import json
import subprocess
from dataclasses import dataclass
from pathlib import Path

from integration.api_client import Body

ANSWER_TIMEOUT_S = 60.0


@dataclass(frozen=True)
class Verdict:
    """`status` is InProgress, Failed, Current or Terminating."""

    kind: str
    name: str
    status: str
    message: str


def verdicts(binaries: Path, *bodies: Body) -> list[Verdict]:
    """One for each object, in order."""
    given = "".join(map(json.dumps, bodies))
    ran = subprocess.run(
        [str(binaries / "kstatus")], input=given, capture_output=True, text=True, check=False, timeout=ANSWER_TIMEOUT_S
    )
    assert ran.returncode == 0, ran.stderr
    return [Verdict(**json.loads(line)) for line in ran.stdout.splitlines()]
