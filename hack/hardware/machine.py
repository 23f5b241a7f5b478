"""What this machine has of Neuron: what is missing for the contract tests, and the versions that the report names.

Looks only at what it names: no environment variables, no addresses, no instance metadata.
"""

import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).parents[2]
STAND_INS = ROOT / "hack" / "emulator" / "stand-ins"
TOOLS = ("neuron-monitor", "neuron-ls")
TOOLS_FOLDER = "/opt/aws/neuron/bin"
PLUGINS = ("pytest", "pytest-asyncio", "pytest-timeout")
PACKAGES = ("torch", "torch-neuronx", "torch-xla", "libneuronxla", "neuronx-cc", "numpy", *PLUGINS)
SYSTEM_PACKAGES = ("aws-neuronx-dkms", "aws-neuronx-runtime-lib", "aws-neuronx-collectives", "aws-neuronx-tools")
PROBE = """
import torch_neuronx
print(torch_neuronx.__file__)
print(hasattr(torch_neuronx, "trace"))
"""
PROBE_SECONDS = 300


@dataclass(frozen=True)
class Machine:
    """`torch_neuronx` is what importing it came to: its file, or the last words of the failure."""

    torch_neuronx: str
    can_trace: bool
    tools: Mapping[str, str | None]
    device_nodes: Sequence[str]
    missing_plugins: Sequence[str]


def find_machine(environment: Mapping[str, str]) -> Machine:
    path = f"{TOOLS_FOLDER}{os.pathsep}{environment.get('PATH', '')}"
    imported, can_trace = _probe(environment)
    return Machine(
        torch_neuronx=imported,
        can_trace=can_trace,
        tools={tool: shutil.which(tool, path=path) for tool in TOOLS},
        device_nodes=sorted(node.name for node in Path("/dev").glob("neuron[0-9]*")),
        missing_plugins=[name for name in PLUGINS if _package_version(name) is None],
    )


def missing(machine: Machine, *, emulated: bool) -> list[str]:
    """Sentences on what has to be there first; pure."""
    told = [
        f"{plugin} is not installed for {sys.executable}: {sys.executable} -m pip install {plugin}"
        for plugin in machine.missing_plugins
    ]
    return told if emulated else [*told, *_missing_of_neuron(machine)]


def _missing_of_neuron(machine: Machine) -> list[str]:
    told = []
    if not machine.device_nodes:
        told.append(
            "there is no /dev/neuron0: run this on an Inf2 instance, on the host or in a container that was given the "
            "device, with the driver (aws-neuronx-dkms) loaded"
        )
    if not machine.can_trace:
        told.append(
            f"torch_neuronx cannot be used with {sys.executable} ({machine.torch_neuronx}): name the interpreter of "
            "AWS's virtual environment, make verify-on-hardware HARDWARE_PYTHON=/opt/aws_neuronx_venv_…/bin/python "
            "(the package of the public index is an empty placeholder)"
        )
    elif is_stand_in(machine.torch_neuronx):
        told.append("torch_neuronx is the emulator's stand-in: leave hack/emulator out of PYTHONPATH")
    for tool, found in machine.tools.items():
        if found is None:
            told.append(f"{tool} is neither on PATH nor in {TOOLS_FOLDER}: install aws-neuronx-tools")
        elif is_stand_in(found):
            told.append(f"{tool} is the emulator's stand-in ({found}): leave hack/emulator out of PATH")
    return told


def is_stand_in(path: str) -> bool:
    return Path(path).resolve().is_relative_to(ROOT / "hack" / "emulator")


def versions() -> dict[str, str]:
    """By name, those that are known here."""
    found = {
        "commit": _said(["git", "-C", str(ROOT), "rev-parse", "--short=12", "HEAD"]),
        "instance type": _content("/sys/devices/virtual/dmi/id/product_name"),
        "driver": _content("/sys/module/neuron/version"),
        "kernel": platform.release(),
        "system": platform.freedesktop_os_release().get("PRETTY_NAME", ""),
        "Python": platform.python_version(),
        **{name: _package_version(name) or "" for name in PACKAGES},
        **{name: _system_package_version(name) for name in SYSTEM_PACKAGES},
    }
    return {name: version for name, version in found.items() if version}


def _probe(environment: Mapping[str, str]) -> tuple[str, bool]:
    command = [sys.executable, "-W", "ignore", "-c", PROBE]
    try:
        ended = subprocess.run(
            command, env=dict(environment), capture_output=True, text=True, timeout=PROBE_SECONDS, check=False
        )
    except subprocess.TimeoutExpired:
        return f"importing it took more than {PROBE_SECONDS} s", False
    if ended.returncode:
        words = ended.stderr.strip().splitlines()
        return words[-1] if words else f"importing it ended with {ended.returncode}", False
    origin, can_trace = ended.stdout.split("\n")[:2]
    return origin, can_trace == "True"


def _package_version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _system_package_version(name: str) -> str:
    """Of Debian's and Ubuntu's packages, else of Amazon Linux's."""
    if shutil.which("dpkg-query"):
        return _said(["dpkg-query", "--show", "--showformat=${Version}", name])
    return _said(["rpm", "--query", "--queryformat=%{VERSION}-%{RELEASE}", name])


def _said(command: Sequence[str]) -> str:
    try:
        ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return ended.stdout.strip() if ended.returncode == 0 else ""


def _content(path: str) -> str:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return ""
