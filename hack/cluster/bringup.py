"""Raises the cluster: the order of things, and what each waits for. Safe to repeat, and after a kill of anything.

`up` is the whole story; every step leaves alone what is there already. Descriptions of the processes are in
`control_plane` and `nodes`; the way back is `teardown`.
"""

import concurrent.futures
import json
import time
from collections.abc import Callable
from pathlib import Path

from cluster import (
    addons,
    certificates,
    cgroups,
    components,
    control_plane,
    firewall,
    network,
    nodes,
)
from cluster.api import Api, allocatable_cores, is_node_ready
from cluster.commands import attempt
from cluster.errors import ClusterError
from cluster.pause_image import pause_archive
from cluster.progress import say
from cluster.settings import DNS_SERVICE_ADDRESS, NODES, PAUSE_IMAGE, Node, Settings

_POLL_S = 0.1
CORES_PER_NODE = 2


def plan(settings: Settings, binaries: Path) -> tuple[components.Component, ...]:
    """Every process of the cluster, in the order in which they can come up."""
    per_node = tuple(one for node in NODES for one in nodes.components(settings, binaries, node))
    return control_plane.components(settings, binaries) + per_node


def up(settings: Settings, binaries: Path) -> None:
    record_machine(settings)
    certificates.write_certificates(settings)
    control_plane.write_files(settings)
    network.create(settings)
    firewall.raise_wall()
    say("certificates, bridges, wall")
    by_name = {one.name: one for one in plan(settings, binaries)}
    pause = pause_archive(settings)
    _prepare_nodes(settings)

    def start(*names: str) -> None:
        for name in names:
            components.start(settings, by_name[name])

    api = Api(settings)
    start("etcd", "kube-apiserver")
    with concurrent.futures.ThreadPoolExecutor() as pool:
        # containerd comes up on both nodes while the API server does.
        runtimes = [pool.submit(_start_container_runtime, settings, node, by_name, pause) for node in NODES]
        for runtime in runtimes:
            runtime.result()
    say("containerd on " + " and ".join(node.name for node in NODES))
    _wait(settings, "the API server", api.is_ready, ("etcd", "kube-apiserver"), timeout_s=90)
    say("API server")
    start("kube-controller-manager", "kube-scheduler", *(f"{node.name}-kubelet" for node in NODES))
    for item in addons.objects():
        api.apply(item)
    start("kube-proxy", "coredns")
    start(*(f"{node.name}-device-plugin" for node in NODES))
    wait_until_usable(settings, api)


def wait_until_usable(settings: Settings, api: Api) -> None:
    kubelets = tuple(f"{node.name}-{part}" for node in NODES for part in ("containerd", "kubelet"))
    _wait(settings, "both nodes to be Ready", lambda: _are_ready(api), kubelets, timeout_s=60)
    say("nodes Ready")
    _wait(settings, "cluster DNS", _has_dns_rules, ("kube-proxy", "coredns"), timeout_s=30)
    _wait(
        settings,
        "the default service account",
        lambda: api.get("/api/v1/namespaces/default/serviceaccounts/default") is not None,
        ("kube-controller-manager",),
        timeout_s=30,
    )
    say("DNS and service accounts")
    plugins = tuple(f"{node.name}-device-plugin" for node in NODES)
    _wait(settings, "the device plugins", lambda: _have_cores(api), plugins, timeout_s=30)
    say(f"{CORES_PER_NODE} NeuronCores allocatable on each node")


def record_machine(settings: Settings) -> None:
    """How the machine was before the first change. Written once, whole or not at all."""
    if settings.before.exists():
        return
    settings.state.mkdir(parents=True, exist_ok=True)
    shared = (*nodes.PRIVATE_PATHS, "/run/xtables.lock", *map(str, cgroups.parents()))
    record = {
        "firewall": {family: firewall.save(family) for family in firewall.FAMILIES},
        "sysctls": network.read_sysctls(),
        "missing_paths": [path for path in shared if not Path(path).exists()],
    }
    partial = settings.before.with_suffix(".partial")
    partial.write_text(json.dumps(record, indent=1))
    partial.replace(settings.before)


def _prepare_nodes(settings: Settings) -> None:
    for path in nodes.PRIVATE_PATHS:
        Path(path).mkdir(parents=True, exist_ok=True)
    for node in NODES:
        nodes.write_files(settings, node)
        nodes.create_mount_namespace(settings, node)


def _start_container_runtime(
    settings: Settings, node: Node, by_name: dict[str, components.Component], pause: Path
) -> None:
    name = f"{node.name}-containerd"
    components.start(settings, by_name[name])
    _wait(settings, name, lambda: _ctr(settings, node, "version") is not None, (name,), timeout_s=30)
    if PAUSE_IMAGE not in (_ctr(settings, node, "images", "ls", "-q") or "").split():
        imported = _ctr(settings, node, "images", "import", str(pause))
        if imported is None:
            raise ClusterError(f"containerd of {node.name} did not take the pause image", f"see the log of {name}")


def _ctr(settings: Settings, node: Node, *arguments: str) -> str | None:
    """What ctr printed, or None when it failed."""
    done = attempt("ctr", *arguments, environment=nodes.environment_for_node_tools(settings, node))
    return done.stdout if done.returncode == 0 else None


def _are_ready(api: Api) -> bool:
    listed = api.nodes()
    return all(node.name in listed and is_node_ready(listed[node.name]) for node in NODES)


def _have_cores(api: Api) -> bool:
    listed = api.nodes()
    return all(allocatable_cores(listed.get(node.name, {})) == CORES_PER_NODE for node in NODES)


def _has_dns_rules() -> bool:
    return f"-d {DNS_SERVICE_ADDRESS}/32" in firewall.save("iptables")


def _wait(
    settings: Settings, what: str, is_done: Callable[[], bool], needed: tuple[str, ...], *, timeout_s: float
) -> None:
    """Polls; a needed process that ended is an error at once, with the last lines of its log."""
    deadline = time.monotonic() + timeout_s
    while not is_done():
        for name in needed:
            if not components.is_running(settings, name):
                raise ClusterError(f"{name} ended:\n{_tail(settings, name)}", f"python -m cluster logs {name}")
        if time.monotonic() > deadline:
            tails = "\n".join(f"{name}:\n{_tail(settings, name)}" for name in needed)
            raise ClusterError(
                f"waited {timeout_s:.0f} s for {what}. Last lines of the logs:\n{tails}",
                "run the same command again; it goes on from here. `python -m cluster status` shows what runs",
            )
        time.sleep(_POLL_S)


def _tail(settings: Settings, name: str) -> str:
    return components.last_lines(components.log_path(settings, name), 8)
