"""Whether this machine can carry the cluster, before anything is changed: each problem says what, where, what next.

`problems` is pure over `Machine`, the facts that `inspect` gathers. Called by `up`.
"""

import dataclasses
import ipaddress
import json
import os
import shutil
import sys
from pathlib import Path

from cluster import binaries, firewall, listeners
from cluster.commands import attempt, run
from cluster.control_plane import LISTENERS
from cluster.errors import ClusterError
from cluster.settings import BRIDGE_PREFIX, POD_RANGE, SERVICE_RANGE, Settings

_GIB = 1 << 30
# Go's build cache, its module cache and the programs themselves come to about 4 GB.
_CACHE_GIB_TO_BUILD = 6
# Two image stores, two unpacked copies of every image, logs and etcd.
_STATE_GIB = 4
_MEMORY_GIB = 3
_MODULES = ("overlay", "br_netfilter", "bridge", "veth", "nf_conntrack", "xt_comment")


@dataclasses.dataclass(frozen=True)
class Space:
    """Free space where a folder lies or will lie, and what is needed there."""

    folder: Path
    free_bytes: int
    needed_bytes: int


@dataclasses.dataclass(frozen=True)
class Route:
    network: str
    device: str


@dataclasses.dataclass(frozen=True)
class Machine:
    """What `problems` judges. `is_ours` says that a cluster of this tool is up, or half up, already."""

    spaces: tuple[Space, ...]
    available_memory_bytes: int
    listeners: tuple[listeners.Listener, ...]
    routes: tuple[Route, ...]
    file_systems: frozenset[str]
    has_memory_cgroup: bool
    has_foreign_cluster: bool
    is_ours: bool


@dataclasses.dataclass(frozen=True)
class Problem:
    what: str
    next_step: str


def check(settings: Settings) -> None:
    """Raises one error that names everything in the way."""
    if not sys.platform.startswith("linux"):
        raise ClusterError(
            f"the cluster runs on Linux, and this is {sys.platform}",
            "use a Linux machine, or CLUSTER=kind or CLUSTER=current (see the README)",
        )
    if os.geteuid() != 0:
        raise ClusterError(
            f"raising the cluster takes root (mounts, bridges, firewall), and this is user {os.geteuid()}",
            "run it as root (`sudo make …`), or use CLUSTER=kind or CLUSTER=current (see the README)",
        )
    found = problems(inspect(settings))
    if found:
        raise ClusterError(
            "this machine cannot carry the cluster as it is:\n" + "\n".join(f"  - {problem.what}" for problem in found),
            "\n        ".join(problem.next_step for problem in found),
        )


def problems(machine: Machine) -> tuple[Problem, ...]:
    return (
        *_space_problems(machine),
        *_kernel_problems(machine),
        *_port_problems(machine),
        *_network_problems(machine),
    )


def _space_problems(machine: Machine) -> tuple[Problem, ...]:
    full = tuple(
        Problem(
            f"{space.folder} has {space.free_bytes / _GIB:.1f} GiB free and needs {space.needed_bytes / _GIB:.0f}",
            f"free some space there (`df -h {space.folder}`), or set "
            "NEURON_SERVING_CACHE or NEURON_SERVING_STATE to a folder on a larger disk",
        )
        for space in machine.spaces
        if space.free_bytes < space.needed_bytes
    )
    memory = machine.available_memory_bytes
    if machine.is_ours or memory >= _MEMORY_GIB * _GIB:
        return full
    small = Problem(f"{memory / _GIB:.1f} GiB of memory are available; {_MEMORY_GIB} are needed", "end other programs")
    return (*full, small)


def _kernel_problems(machine: Machine) -> tuple[Problem, ...]:
    found = []
    if "overlay" not in machine.file_systems:
        found.append(
            Problem("the kernel has no overlay file system (/proc/filesystems)", "modprobe overlay, or another kernel")
        )
    if not machine.has_memory_cgroup:
        found.append(
            Problem("no memory control group under /sys/fs/cgroup", "mount the control groups; containers need limits")
        )
    return tuple(found)


def _port_problems(machine: Machine) -> tuple[Problem, ...]:
    if machine.is_ours:
        return ()
    return tuple(
        Problem(
            f"port {one.port} ({LISTENERS[one.port]}) is taken on every address by {one.owner}",
            f"end {one.owner}, or let it listen on one address only",
        )
        for one in machine.listeners
        if one.port in LISTENERS and one.is_on_every_address
    )


def _network_problems(machine: Machine) -> tuple[Problem, ...]:
    if machine.is_ours:
        return ()
    ours = tuple(ipaddress.ip_network(one) for one in (POD_RANGE, SERVICE_RANGE))
    found = [
        Problem(
            f"{route.network} on {route.device} overlaps the cluster's addresses ({POD_RANGE}, {SERVICE_RANGE})",
            f"take {route.device} down while the cluster runs",
        )
        for route in machine.routes
        if not route.device.startswith(BRIDGE_PREFIX)
        and any(ipaddress.ip_network(route.network, strict=False).overlaps(one) for one in ours)
    ]
    if machine.has_foreign_cluster:
        found.append(
            Problem(
                "another Kubernetes keeps its rules in this machine's firewall (chain KUBE-SERVICES)",
                "use it with CLUSTER=current, or take it down first",
            )
        )
    return tuple(found)


def inspect(settings: Settings) -> Machine:
    _load_modules()
    needed = [(settings.state, _STATE_GIB)]
    if binaries.missing(settings):
        needed.append((settings.cache, _CACHE_GIB_TO_BUILD))
    is_ours = settings.before.exists()
    return Machine(
        spaces=tuple(_space(folder, gib) for folder, gib in needed),
        available_memory_bytes=_available_memory(Path("/proc/meminfo").read_text()),
        listeners=listeners.listening(),
        routes=_routes(),
        file_systems=frozenset(Path("/proc/filesystems").read_text().split()),
        has_memory_cgroup=_has_memory_cgroup(),
        has_foreign_cluster=not is_ours and shutil.which("iptables") is not None and _foreign_rules(),
        is_ours=is_ours,
    )


def _foreign_rules() -> bool:
    return any(firewall.has_foreign_cluster(firewall.save(family)) for family in firewall.FAMILIES)


def _load_modules() -> None:
    """Best effort: where they are built in, or modprobe is absent, the checks after this one decide."""
    if shutil.which("modprobe"):
        attempt("modprobe", "--all", "--quiet", *_MODULES)


def _space(folder: Path, needed_gib: int) -> Space:
    existing = next(parent for parent in (folder, *folder.parents) if parent.exists())
    return Space(folder, shutil.disk_usage(existing).free, needed_gib * _GIB)


def _available_memory(meminfo: str) -> int:
    line = next(line for line in meminfo.splitlines() if line.startswith("MemAvailable:"))
    return int(line.split()[1]) * 1024


def _has_memory_cgroup() -> bool:
    unified = Path("/sys/fs/cgroup/cgroup.controllers")
    return Path("/sys/fs/cgroup/memory").is_dir() or (unified.exists() and "memory" in unified.read_text().split())


def _routes() -> tuple[Route, ...]:
    if not shutil.which("ip"):
        return ()
    listed = run("ip", "-json", "-4", "route")
    return tuple(
        Route(route["dst"], route["dev"])
        for route in json.loads(listed or "[]")
        if route["dst"] != "default" and "dev" in route
    )
