"""An emulated node: its configuration files, its mount namespace and its processes (containerd, kubelet, plugin).

A node's processes live in a mount namespace of their own, in which the fixed paths that Kubernetes insists on
(/var/lib/kubelet and others) are the node's directories. So two kubelets fit on one machine, and no mount or
file of theirs outlives them. The render functions are pure; `enter` and `write_files` change the machine.
"""

import json
import os
import shlex
import sys
from collections.abc import Mapping
from pathlib import Path

from cluster.commands import run
from cluster.components import Component
from cluster.control_plane import KUBELET_HEALTH_PORT, KUBELET_PORT
from cluster.mounts import is_mounted
from cluster.settings import (
    CLUSTER_DOMAIN,
    DNS_SERVICE_ADDRESS,
    HACK,
    INSTANCE_TYPE,
    PAUSE_IMAGE,
    Node,
    Settings,
)

CNI_PLUGINS = Path("/usr/lib/cni")
REGION = "us-east-1"
# Path on the machine → the node's directory that stands in for it inside the node's mount namespace.
PRIVATE_PATHS = {
    "/var/lib/kubelet": "kubelet",
    "/var/lib/cni": "cni-results",
    "/run/containerd": "containerd-run",
    "/var/log/containers": "container-logs",
}


def kubelet_configuration(settings: Settings, node: Node) -> dict[str, object]:
    pki = settings.certificates
    return {
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "address": node.address,
        "port": KUBELET_PORT,
        "readOnlyPort": 0,
        "healthzBindAddress": node.address,
        "healthzPort": KUBELET_HEALTH_PORT,
        "authentication": {
            "anonymous": {"enabled": False},
            "webhook": {"enabled": True},
            "x509": {"clientCAFile": str(pki / "ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "tlsCertFile": str(pki / f"{node.name}-server.crt"),
        "tlsPrivateKeyFile": str(pki / f"{node.name}-server.key"),
        "containerRuntimeEndpoint": f"unix://{settings.containerd_socket(node)}",
        "cgroupDriver": "cgroupfs",
        # Both kubelets would own /kubepods; limits of containers hold without it.
        "cgroupsPerQOS": False,
        "enforceNodeAllocatable": [],
        "failCgroupV1": False,
        "failSwapOn": False,
        "makeIPTablesUtilChains": False,
        "resolvConf": "",
        "clusterDomain": CLUSTER_DOMAIN,
        "clusterDNS": [DNS_SERVICE_ADDRESS],
        "podLogsDir": str(settings.node_directory(node) / "pod-logs"),
        "volumePluginDir": str(settings.node_directory(node) / "volume-plugins"),
        # A developer's disk is often nearly full, and evicting pods or images would help nobody here.
        "evictionHard": {},
        "imageGCHighThresholdPercent": 100,
        "serializeImagePulls": False,
        "nodeStatusUpdateFrequency": "2s",
        "syncFrequency": "10s",
        # Tolerates a machine that forbids what a container or a small virtual machine often forbids.
        "featureGates": {"KubeletInUserNamespace": True},
    }


def cni_configuration(settings: Settings, node: Node) -> dict[str, object]:
    bridge = {
        "type": "bridge",
        "bridge": node.bridge,
        "isGateway": True,
        "ipMasq": False,
        "hairpinMode": True,
        "ipam": {
            "type": "host-local",
            "dataDir": str(settings.node_directory(node) / "addresses"),
            "ranges": [[{"subnet": node.subnet}]],
            "routes": [{"dst": "0.0.0.0/0"}],
        },
    }
    ports = {"type": "portmap", "capabilities": {"portMappings": True}}
    return {"cniVersion": "0.4.0", "name": node.bridge, "plugins": [bridge, ports]}


def containerd_configuration(settings: Settings, node: Node) -> str:
    here = settings.node_directory(node)
    return f"""\
version = 2
root = "{here}/containerd"
state = "{here}/containerd-state"
[grpc]
  address = "{settings.containerd_socket(node)}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{here}/containerd-opt"
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "{PAUSE_IMAGE}"
  disable_apparmor = true
  restrict_oom_score_adj = true
  netns_mounts_under_state_dir = true
  stream_server_address = "{node.address}"
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = "{CNI_PLUGINS}"
    conf_dir = "{here}/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
    runtime_type = "io.containerd.runc.v2"
"""


def write_files(settings: Settings, node: Node) -> None:
    here = settings.node_directory(node)
    for name in (*PRIVATE_PATHS.values(), "cni", "pod-logs"):
        (here / name).mkdir(parents=True, exist_ok=True)
    # Containers that run as nobody special claim emulated cores here.
    settings.emulator_state(node).mkdir(exist_ok=True)
    settings.emulator_state(node).chmod(0o1777)
    (here / "kubelet.json").write_text(json.dumps(kubelet_configuration(settings, node), indent=1))
    (here / "cni" / "10-bridge.conflist").write_text(json.dumps(cni_configuration(settings, node), indent=1))
    (here / "containerd.toml").write_text(containerd_configuration(settings, node))


def create_mount_namespace(settings: Settings, node: Node) -> None:
    """Kept open by a file, not by a process: nothing that is killed can take it along.

    Not for two threads at once: a second mount over the folder would hide the first one's namespace.
    """
    folder, file = settings.namespaces, settings.mount_namespace(node)
    folder.mkdir(parents=True, exist_ok=True)
    if not is_mounted(folder):
        run("mount", "--bind", str(folder), str(folder))
    if not is_mounted(file):
        # The kernel refuses to hold a mount namespace under a mount that would propagate into it.
        run("mount", "--make-private", str(folder))
        file.touch()
        run("unshare", f"--mount={file}", "--propagation", "slave", "true")
    run("nsenter", f"--mount={file}", "--", "sh", "-c", private_path_script(settings, node))


def private_path_script(settings: Settings, node: Node) -> str:
    """Mounts what is not mounted yet, so that it can be killed at any point and run again."""
    sources = {path: settings.node_directory(node) / name for path, name in PRIVATE_PATHS.items()}
    return "set -e; " + "; ".join(
        f"[ {shlex.quote(str(source))} -ef {path} ] || mount --bind {shlex.quote(str(source))} {path}"
        for path, source in sources.items()
    )


def containerd(settings: Settings, node: Node) -> Component:
    return Component(
        f"{node.name}-containerd",
        ("containerd", "--config", str(settings.node_directory(node) / "containerd.toml")),
        node,
    )


def kubelet(settings: Settings, binaries: Path, node: Node) -> Component:
    here = settings.node_directory(node)
    return Component(
        f"{node.name}-kubelet",
        (
            str(binaries / "kubelet"),
            f"--config={here / 'kubelet.json'}",
            f"--kubeconfig={settings.kubeconfig(node.name)}",
            f"--cert-dir={here / 'kubelet-certificates'}",
            f"--hostname-override={node.name}",
            f"--node-ip={node.address}",
            "--node-labels=" + ",".join(f"{key}={value}" for key, value in node_labels(node).items()),
        ),
        node,
    )


def node_labels(node: Node) -> dict[str, str]:
    """Those that a node of EKS has from the cloud, with two zones in turn; the kubelet adds host name, os and arch."""
    return {
        "node.kubernetes.io/instance-type": INSTANCE_TYPE,
        "topology.kubernetes.io/region": REGION,
        "topology.kubernetes.io/zone": f"{REGION}{'ba'[node.number % 2]}",
    }


def device_plugin(settings: Settings, node: Node) -> Component:
    return Component(
        f"{node.name}-device-plugin",
        (
            sys.executable,
            "-m",
            "emulator.device_plugin",
            "--plugin-dir=/var/lib/kubelet/device-plugins",
            f"--instance-type={INSTANCE_TYPE}",
            f"--state-dir={settings.emulator_state(node)}",
            f"--site-packages={settings.site_packages}",
            f"--node={node.name}",
        ),
        node,
        {"PYTHONPATH": str(HACK), "PYTHONDONTWRITEBYTECODE": "1"},
    )


def components(settings: Settings, binaries: Path, node: Node) -> tuple[Component, ...]:
    """In the order in which they can come up."""
    return (containerd(settings, node), kubelet(settings, binaries, node), device_plugin(settings, node))


def environment_for_node_tools(settings: Settings, node: Node) -> Mapping[str, str]:
    return {**os.environ, "CONTAINERD_ADDRESS": str(settings.containerd_socket(node)), "CONTAINERD_NAMESPACE": "k8s.io"}
