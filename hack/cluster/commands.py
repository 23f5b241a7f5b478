"""Runs programs of the machine to their end and hands back what they said: the only place that does.

`attempt` leaves the judgment to the caller; `run` is for what cannot fail unless the machine is broken.
"""

import subprocess
from collections.abc import Mapping
from pathlib import Path

Done = subprocess.CompletedProcess[str]


def attempt(*command: str, environment: Mapping[str, str] | None = None, cwd: Path | None = None) -> Done:
    return subprocess.run(command, check=False, env=environment, cwd=cwd, capture_output=True, text=True)


def run(*command: str) -> str:
    """What it printed. A failure shows what the program said, as a bug report needs it."""
    done = attempt(*command)
    if done.returncode != 0:
        raise RuntimeError(f"`{' '.join(command)}` failed with {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def tail(text: str, lines: int) -> str:
    return "\n".join(text.splitlines()[-lines:])
