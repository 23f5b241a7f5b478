"""The node's directory: where it is, what kind of instance it imitates, and who may write there.

$NEURON_EMULATOR_STATE names it. Containers run under different user ids, so everything in it is open to all;
the directories have no sticky bit because one pod removes what a dead one left. Processes that run one after
another on a host without a device plugin get a directory under the system's temporary one.
"""

import contextlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path

from emulated_node.instances import INSTANCES, InstanceFacts

STATE_VARIABLE = "NEURON_EMULATOR_STATE"
INSTANCE_TYPE_VARIABLE = "NEURON_EMULATOR_INSTANCE_TYPE"
DEFAULT_INSTANCE_TYPE = "inf2.xlarge"
_SUBDIRECTORIES = ("cores", "processes")


class Node:
    """One emulated node, as every process on it sees it."""

    def __init__(self, directory: Path, environ: Mapping[str, str]) -> None:
        self.directory = directory
        for path in (directory, *(directory / name for name in _SUBDIRECTORIES)):
            path.mkdir(parents=True, exist_ok=True)
            open_to_all(path, 0o777)
        described = read_json(directory / "node.json")
        name = described.get("instance_type") or environ.get(INSTANCE_TYPE_VARIABLE, DEFAULT_INSTANCE_TYPE)
        if name not in INSTANCES:
            raise ValueError(f"no emulated instance type {name!r}; there are {', '.join(INSTANCES)}")
        self.facts: InstanceFacts = INSTANCES[name]

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] = os.environ) -> "Node":
        named = environ.get(STATE_VARIABLE)
        return cls(Path(named) if named else Path(tempfile.gettempdir()) / "neuron-emulator", environ)

    def describe(self, instance_type: str) -> None:
        """Fix the instance type for every process on the node; the device plugin does this when it starts."""
        self.facts = INSTANCES[instance_type]
        for core in range(self.facts.core_count):
            path = self.core_file(core)
            path.touch()
            open_to_all(path, 0o666)
        write_atomically(self.directory / "node.json", json.dumps({"instance_type": instance_type}))

    def core_file(self, core: int) -> Path:
        return self.directory / "cores" / f"{core}.lock"


def open_to_all(path: Path, mode: int) -> None:
    """Undo the umask where we own the path; someone else's was opened by them."""
    with contextlib.suppress(PermissionError):
        path.chmod(mode)


def write_atomically(path: Path, text: str) -> None:
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    with os.fdopen(descriptor, "w") as file:
        os.fchmod(file.fileno(), 0o666)
        file.write(text)
    Path(name).replace(path)


def read_json(path: Path) -> dict[str, str]:
    try:
        found = json.loads(path.read_text())
    except FileNotFoundError:
        return {}
    if not isinstance(found, dict):
        raise ValueError(f"{path} does not hold a JSON object")
    return found
