"""Takes the cluster down and leaves the machine as it was before: processes, mounts, links, rules, files.

`down` works on a cluster of which any part is dead already, and finds nothing to do the second time. The record
of the machine as it was is removed last, so a killed `down` can be repeated.
"""

import json
import shutil
from pathlib import Path
from typing import Any

from cluster import cgroups, components, counters, firewall, network, processes
from cluster.commands import attempt
from cluster.mounts import current_below
from cluster.settings import NODES, Settings


def down(settings: Settings) -> bool:
    """True if there was anything to take down."""
    record = _read_record(settings)
    was_there = settings.state.exists()
    _stop_recorded(settings)
    _stop_in_namespaces(settings)
    containers = container_ids(settings)
    cgroups.empty(containers)
    cgroups.remove(containers)
    for mount in reversed(current_below(settings.state)):
        attempt("umount", "--lazy", mount)
    network.remove()
    if "firewall" in record:
        firewall.restore(record["firewall"])
        counters.remove()
    network.restore_sysctls(record.get("sysctls", {}))
    for path in record.get("missing_paths", ()):
        _remove_if_unused(Path(path))
    if was_there:
        _remove_state(settings)
    return was_there


def container_ids(settings: Settings) -> frozenset[str]:
    """As containerd keeps them on disk, so that a dead containerd can be asked too."""
    tasks = "containerd-state/io.containerd.runtime.v2.task/k8s.io"
    return frozenset(
        entry.name for node in NODES for entry in (settings.node_directory(node) / tasks).glob("*") if entry.is_dir()
    )


def _read_record(settings: Settings) -> dict[str, Any]:
    try:
        record: dict[str, Any] = json.loads(settings.before.read_text())
    except FileNotFoundError:
        return {}
    return record


def _stop_recorded(settings: Settings) -> None:
    """All at once with SIGKILL: everything they hold is removed anyway."""
    for record in sorted(settings.records.glob("*")):
        components.stop(settings, record.name, grace_s=0)


def _stop_in_namespaces(settings: Settings) -> None:
    """Shims, and whatever else containerd left: all that lives in a node's mount namespace."""
    for node in NODES:
        file = settings.mount_namespace(node)
        if not file.exists():
            continue
        inode = file.stat().st_ino
        while found := processes.in_mount_namespace(inode):
            for pid in found:
                stat = processes.read_stat(pid)
                if stat and stat.is_alive:
                    processes.stop(stat.identity, grace_s=0)
            if not any(_is_alive(pid) for pid in found):
                break


def _is_alive(pid: int) -> bool:
    stat = processes.read_stat(pid)
    return stat is not None and stat.is_alive


def _remove_if_unused(path: Path) -> None:
    """Only what was not there before us, and only while it is still empty."""
    try:
        if path.is_dir():
            path.rmdir()
        elif path.is_file() and path.stat().st_size == 0:
            path.unlink()
    except OSError:
        return


def _remove_state(settings: Settings) -> None:
    for entry in settings.state.iterdir():
        if entry != settings.before:
            shutil.rmtree(entry) if entry.is_dir() else entry.unlink()
    settings.before.unlink(missing_ok=True)
    settings.state.rmdir()
    if settings.state.parent.name == "neuron-serving":
        _remove_if_unused(settings.state.parent)
