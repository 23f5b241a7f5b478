"""Bridges, routes and kernel settings of the cluster; every change has its way back.

Called by bringup (`create`) and teardown (`remove`). The service range is routed to the first bridge, where what
no rule of kube-proxy caught dies; pod addresses outside the nodes' subnets are unreachable. So nothing leaves by
the machine's uplink even before the firewall has its say.
"""

import json
from pathlib import Path

from cluster.commands import attempt, run
from cluster.settings import GATEWAY, NODES, POD_RANGE, SERVICE_RANGE, Settings

# All that the cluster's processes change on their own account (kubelet: vm and kernel; kube-proxy, CNI: net).
RECORDED_SYSCTLS = (
    "net.ipv4.ip_forward",
    "net.ipv4.conf.all.route_localnet",
    "net.ipv4.conf.all.forwarding",
    "net.ipv4.conf.default.forwarding",
    "net.bridge.bridge-nf-call-iptables",
    "net.bridge.bridge-nf-call-ip6tables",
    "net.netfilter.nf_conntrack_max",
    "net.netfilter.nf_conntrack_tcp_timeout_established",
    "net.netfilter.nf_conntrack_tcp_timeout_close_wait",
    "vm.overcommit_memory",
    "vm.panic_on_oom",
    "kernel.panic",
    "kernel.panic_on_oops",
    "kernel.keys.root_maxkeys",
    "kernel.keys.root_maxbytes",
)


def read_sysctls() -> dict[str, str]:
    return {name: _sysctl(name).read_text().strip() for name in RECORDED_SYSCTLS if _sysctl(name).exists()}


def restore_sysctls(recorded: dict[str, str]) -> None:
    for name, value in recorded.items():
        if _sysctl(name).exists() and _sysctl(name).read_text().strip() != value:
            _sysctl(name).write_text(value)


def _sysctl(name: str) -> Path:
    return Path("/proc/sys", *name.split("."))


def create(settings: Settings) -> None:
    for node in NODES:
        if not _exists(node.bridge):
            _ip("link", "add", node.bridge, "type", "bridge")
        _ip("addr", "replace", f"{node.address}/24", "dev", node.bridge)
        _hold_address(node.bridge)
        _ip("link", "set", node.bridge, "up")
    _ip("route", "replace", SERVICE_RANGE, "dev", NODES[0].bridge, "src", GATEWAY)
    _ip("route", "replace", "unreachable", POD_RANGE)
    for name in ("net.ipv4.ip_forward", "net.bridge.bridge-nf-call-iptables"):
        if _sysctl(name).exists():
            _sysctl(name).write_text("1")


def remove() -> None:
    for node in NODES:
        if _exists(node.bridge):
            for port in json.loads(_ip("-json", "link", "show", "master", node.bridge) or "[]"):
                attempt("ip", "link", "delete", port["ifname"])
            _ip("link", "delete", node.bridge)
    # Routes through a bridge went with it; the unreachable one belongs to no link.
    attempt("ip", "route", "delete", "unreachable", POD_RANGE)


def _hold_address(bridge: str) -> None:
    """A bridge that was never given an address takes the lowest of its ports': with a pod that comes or goes it becomes
    another, and the node's other pods send into the void until they have asked again who the gateway is."""
    # Not from /sys, which shows the links of the namespace that it was mounted in.
    (shown,) = json.loads(_ip("-json", "link", "show", bridge))
    _ip("link", "set", bridge, "address", shown["address"])


def _exists(link: str) -> bool:
    return attempt("ip", "link", "show", link).returncode == 0


def _ip(*arguments: str) -> str:
    return run("ip", *arguments)
