"""Runs programs of the machine to their end and hands back what they said: the only place that does.

`attempt` leaves the judgment to the caller; `run` is for what cannot fail unless the machine is broken.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

from cluster.errors import ClusterError

Done = subprocess.CompletedProcess[str]


def attempt(*command: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> Done:
    return subprocess.run(command, check=False, env=environment, cwd=cwd, capture_output=True, text=True)


def run(*command: str) -> str:
    """What it printed. A failure shows what the program said."""
    done = attempt(*command)
    if done.returncode != 0:
        raise ClusterError(
            f"`{' '.join(command)}` failed with {done.returncode}: {tail(done.stderr.strip(), 5)}",
            "this machine or its kernel refuses something that the cluster needs; "
            "`python -m cluster down` takes back what was done so far",
        )
    return done.stdout


def tail(text: str, lines: int) -> str:
    return "\n".join(text.splitlines()[-lines:])
