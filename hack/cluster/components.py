"""A component is a process of the cluster described as a value: its name, command and, for a node's, its node.

`control_plane` and `nodes` describe them; this module starts, stops and finds them. It never decides the order:
that is bringup's.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path

from cluster import processes
from cluster.errors import ClusterError
from cluster.settings import Node, Settings


@dataclasses.dataclass(frozen=True)
class Component:
    name: str
    command: tuple[str, ...]
    node: Node | None = None
    environment: Mapping[str, str] = dataclasses.field(default_factory=dict)


def record_path(settings: Settings, name: str) -> Path:
    return settings.records / name


def log_path(settings: Settings, name: str) -> Path:
    return settings.logs / f"{name}.log"


def command_line(settings: Settings, component: Component) -> tuple[str, ...]:
    """A node's processes share its mount namespace, which holds its own /var/lib/kubelet and /run/containerd."""
    if component.node is None:
        return component.command
    return ("nsenter", f"--mount={settings.mount_namespace(component.node)}", "--", *component.command)


def start(settings: Settings, component: Component) -> bool:
    """True if it had to be started; a component that runs already is left alone."""
    if processes.recorded(record_path(settings, component.name)):
        return False
    processes.start(
        record_path(settings, component.name),
        log_path(settings, component.name),
        command_line(settings, component),
        component.environment,
    )
    return True


def stop(settings: Settings, name: str, *, grace_s: float = 10.0) -> bool:
    """True if it was running; afterwards it is not."""
    record = record_path(settings, name)
    identity = processes.recorded(record)
    if identity and not processes.stop(identity, grace_s=grace_s):
        raise ClusterError(
            f"{name} (process {identity.pid}) did not end within 10 s of SIGKILL",
            f"look at /proc/{identity.pid}/stack and `python -m cluster logs {name}`",
        )
    record.unlink(missing_ok=True)
    return identity is not None


def is_running(settings: Settings, name: str) -> bool:
    return processes.recorded(record_path(settings, name)) is not None


def last_lines(path: Path, count: int) -> str:
    try:
        with path.open("rb") as file:
            file.seek(0, 2)
            file.seek(max(0, file.tell() - 64 * 1024))
            return "\n".join(file.read().decode(errors="replace").splitlines()[-count:])
    except FileNotFoundError:
        return ""
