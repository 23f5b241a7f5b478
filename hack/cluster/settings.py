"""Where everything lives and which addresses are ours: one frozen value, read from the environment once.

Every other module takes a `Settings`; none reads the environment or writes a path of its own. Pure but for
`from_environment`'s argument.
"""

import dataclasses
import ipaddress
from collections.abc import Mapping
from pathlib import Path

POD_RANGE = "10.244.0.0/16"
SERVICE_RANGE = "10.96.0.0/16"
API_SERVICE_ADDRESS = "10.96.0.1"
DNS_SERVICE_ADDRESS = "10.96.0.10"
CLUSTER_DOMAIN = "cluster.local"
BRIDGE_PREFIX = "neuron-"
INSTANCE_TYPE = "inf2.xlarge"
PAUSE_IMAGE = "docker.io/neuron-serving/pause:1"
SOURCE = Path(__file__).resolve().parent
HACK = SOURCE.parent


@dataclasses.dataclass(frozen=True)
class Node:
    """One emulated machine: a bridge whose address is the node's, a containerd, a kubelet and a device plugin."""

    name: str
    number: int

    @property
    def bridge(self) -> str:
        return f"{BRIDGE_PREFIX}{self.name}"

    @property
    def subnet(self) -> str:
        return f"10.244.{self.number - 1}.0/24"

    @property
    def address(self) -> str:
        return str(ipaddress.ip_network(self.subnet)[1])


NODES = (Node("n1", 1), Node("n2", 2))
# The control plane's processes run beside the nodes and listen here, the first bridge's own address: pods reach it,
# the machine's uplink does not.
GATEWAY = NODES[0].address


@dataclasses.dataclass(frozen=True)
class Settings:
    """The two directories: what is expensive and kept (cache), and what one running cluster owns (state)."""

    cache: Path
    state: Path

    @property
    def certificates(self) -> Path:
        return self.state / "certificates"

    @property
    def logs(self) -> Path:
        return self.state / "logs"

    @property
    def records(self) -> Path:
        return self.state / "processes"

    @property
    def namespaces(self) -> Path:
        return self.state / "namespaces"

    @property
    def before(self) -> Path:
        return self.state / "before"

    @property
    def audit_log(self) -> Path:
        return self.logs / "audit.jsonl"

    @property
    def admin_kubeconfig(self) -> Path:
        return self.state / "admin.kubeconfig"

    @property
    def lock(self) -> Path:
        return self.cache / "cluster.lock"

    @property
    def image_archives(self) -> Path:
        return self.cache / "images"

    @property
    def site_packages(self) -> Path:
        return self.cache / "emulator-site-packages"

    def kubeconfig(self, user: str) -> Path:
        return self.state / f"{user}.kubeconfig"

    def node_directory(self, node: Node) -> Path:
        return self.state / node.name

    def containerd_socket(self, node: Node) -> Path:
        return self.node_directory(node) / "containerd.sock"

    def mount_namespace(self, node: Node) -> Path:
        return self.namespaces / node.name

    def emulator_state(self, node: Node) -> Path:
        return self.node_directory(node) / "neuron-emulator"


def from_environment(environment: Mapping[str, str]) -> Settings:
    """NEURON_SERVING_CACHE and NEURON_SERVING_STATE override the folders under ~/.cache and /var/lib."""
    home = Path(environment.get("HOME", "/root"))
    return Settings(
        cache=Path(environment.get("NEURON_SERVING_CACHE") or home / ".cache" / "neuron-serving").absolute(),
        state=Path(environment.get("NEURON_SERVING_STATE") or "/var/lib/neuron-serving/cluster").absolute(),
    )
