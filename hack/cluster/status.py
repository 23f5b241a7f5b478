"""What runs, what does not, and what the nodes offer: the commands `status` and `logs`.

Reads records, logs and the API server; changes nothing.
"""

import subprocess
from pathlib import Path

from cluster import bringup, components, processes
from cluster.api import Api, allocatable_cores, is_node_ready
from cluster.errors import ClusterError
from cluster.settings import NODES, Settings


def word(settings: Settings, binaries: Path) -> str:
    """up: every process runs and both nodes are Ready. down: nothing is there. partly: anything between."""
    if not settings.state.exists():
        return "down"
    names = expected(settings, binaries)
    is_up = all(components.is_running(settings, name) for name in names) and _ready_nodes(settings) == len(NODES)
    return "up" if is_up else "partly"


def expected(settings: Settings, binaries: Path) -> tuple[str, ...]:
    return tuple(one.name for one in bringup.plan(settings, binaries))


def _ready_nodes(settings: Settings) -> int:
    if not (settings.certificates / "complete").exists():
        return 0
    return sum(is_node_ready(node) for node in Api(settings).nodes().values())


def report(settings: Settings, binaries: Path) -> str:
    state = word(settings, binaries)
    if state == "down":
        return "down: no cluster on this machine (start one with `make cluster-up`)"
    lines = [f"{state}: state in {settings.state}, kubeconfig {settings.admin_kubeconfig}", ""]
    for name in expected(settings, binaries):
        identity = processes.recorded(components.record_path(settings, name))
        lines.append(f"  {name:<26}{f'process {identity.pid}' if identity else 'not running'}")
    lines.append("")
    if (settings.certificates / "complete").exists():
        for name, node in sorted(Api(settings).nodes().items()):
            ready = "Ready" if is_node_ready(node) else "NotReady"
            lines.append(f"  node {name:<21}{ready}, {allocatable_cores(node)} NeuronCores allocatable")
    if state == "partly":
        lines.append("  next: `make cluster-up` starts what is missing, `make cluster-down` removes everything")
    return "\n".join(lines)


def show_logs(settings: Settings, name: str | None, *, lines: int, follow: bool) -> None:
    """One component's log, or the end of everybody's."""
    logs = sorted(settings.logs.glob("*.log")) if settings.logs.exists() else []
    if name is not None:
        logs = [path for path in logs if path.stem == name]
    if not logs:
        have = ", ".join(sorted(path.stem for path in settings.logs.glob("*.log"))) or "none: the cluster is down"
        raise ClusterError(f"no log of {name or 'any component'}", f"there are logs of: {have}")
    if follow:
        subprocess.run(["tail", "-n", str(lines), "-F", *map(str, logs)], check=False)
        return
    for path in logs:
        if name is None:
            print(f"==> {path} <==")
        print(components.last_lines(path, lines))
