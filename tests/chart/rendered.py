"""The chart as Helm renders it, for the tests of this folder and of tests/integration."""

import json
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from local_control_plane import binaries

CHART = Path(__file__).parents[2] / "charts" / "neuron-serving"
RELEASE, NAMESPACE = "neuron-serving", "neuron-serving-system"
Manifest = dict[str, Any]


@cache
def helm() -> str:
    """The program, from the same folder as the API server's."""
    return str(binaries() / "helm")


def run_helm(*arguments: str, kubeconfig: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Helm's answer, whatever it is."""
    where = [f"--kubeconfig={kubeconfig}"] if kubeconfig else []
    return subprocess.run([helm(), *arguments, *where], capture_output=True, text=True, check=False)


def settings(values: Mapping[str, Any]) -> Sequence[str]:
    """`values`, by dotted path, as arguments."""
    return [f"--set-json={path}={json.dumps(value)}" for path, value in values.items()]


def render(values: Mapping[str, Any] | None = None, release: str = RELEASE) -> list[Manifest]:
    """Every object of the chart with these values."""
    # Without it Helm takes the Kubernetes version that its own build was given, or a very old one.
    version = "--kube-version=1.36.0"
    where = [release, str(CHART), f"--namespace={NAMESPACE}", version]
    done = run_helm("template", *where, *settings(values or {}))
    assert done.returncode == 0, done.stderr
    return [manifest for manifest in yaml.safe_load_all(done.stdout) if manifest]


def one(manifests: Sequence[Manifest], kind: str, name: str = "") -> Manifest:
    """The only object of that kind, or the one of that name."""
    found = [each for each in manifests if each["kind"] == kind and (not name or each["metadata"]["name"] == name)]
    assert len(found) == 1, f"{len(found)} objects of kind {kind} {name}"
    return found[0]
