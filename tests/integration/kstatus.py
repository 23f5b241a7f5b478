"""What GitOps tools make of objects, by the libraries that they use themselves, built by the cluster tool.

kstatus is what Flux and kpt wait with. The scripts for Argo CD and Flux are those that docs/gitops.md tells people to
use, run by the interpreters that these tools embed.
"""

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from integration.api_client import Body
from local_control_plane import ROOT

ANSWER_TIMEOUT_S = 60.0
PAGE = ROOT / "docs" / "gitops.md"


@dataclass(frozen=True)
class Verdict:
    """`status` in the tool's own words: InProgress, Failed, Current or Terminating of kstatus."""

    kind: str
    name: str
    status: str
    message: str


def verdicts(binaries: Path, *bodies: Body, options: tuple[str, ...] = ()) -> list[Verdict]:
    """One for each object, in order."""
    given = "".join(map(json.dumps, bodies))
    command = [str(binaries / "kstatus"), *options]
    ran = subprocess.run(command, input=given, capture_output=True, text=True, check=False, timeout=ANSWER_TIMEOUT_S)
    assert ran.returncode == 0, ran.stderr
    return [Verdict(**json.loads(line)) for line in ran.stdout.splitlines()]


def argo_options(folder: Path) -> tuple[str, ...]:
    """For `verdicts` by the health check that the page gives for Argo CD."""
    script = folder / "health.lua"
    script.write_text(_shown("ConfigMap")["data"]["resource.customizations.health.neuron-serving.dev_NeuronModel"])
    return "-argo", str(script)


def flux_options(folder: Path) -> tuple[str, ...]:
    """For `verdicts` by the expressions that the page gives for Flux."""
    expressions = folder / "expressions.json"
    expressions.write_text(json.dumps(_shown("Kustomization")["spec"]["healthCheckExprs"][0]))
    return "-flux", str(expressions)


def _shown(kind: str) -> dict[str, Any]:
    blocks = map(yaml.safe_load, re.findall(r"```yaml\n(.*?)```", PAGE.read_text(), re.DOTALL))
    return next(block for block in blocks if block.get("kind") == kind)
