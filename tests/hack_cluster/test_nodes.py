"""What a node's processes read: real formats, and nothing that two nodes would share."""

import json
import re
import tomllib
from pathlib import Path

import pytest

from cluster import nodes
from cluster.settings import NODES, Node, Settings

SETTINGS = Settings(cache=Path("/cache"), state=Path("/state"))
N1, N2 = NODES


@pytest.mark.parametrize(
    ("name", "subnet", "address", "bridge"),
    [("n1", "10.244.0.0/24", "10.244.0.1", "neuron-n1"), ("n2", "10.244.1.0/24", "10.244.1.1", "neuron-n2")],
)
def test_node_has_addresses_of_its_own(name: str, subnet: str, address: str, bridge: str) -> None:
    node = next(node for node in NODES if node.name == name)
    assert (node.subnet, node.address, node.bridge) == (subnet, address, bridge)
    assert len(node.bridge) <= 15, "the kernel's limit for the name of a link"


def test_kubelet_asks_the_api_server_who_may_talk_to_it() -> None:
    configuration = nodes.kubelet_configuration(SETTINGS, N1)
    assert configuration["authorization"] == {"mode": "Webhook"}
    assert configuration["authentication"] == {
        "anonymous": {"enabled": False},
        "webhook": {"enabled": True},
        "x509": {"clientCAFile": "/state/certificates/ca.crt"},
    }
    assert configuration["readOnlyPort"] == 0


def test_containerd_configuration_is_toml_with_the_nodes_own_directories() -> None:
    parsed = tomllib.loads(nodes.containerd_configuration(SETTINGS, N2))
    runtime = parsed["plugins"]["io.containerd.grpc.v1.cri"]
    assert parsed["grpc"]["address"] == "/state/n2/containerd.sock"
    assert (parsed["root"], parsed["state"]) == ("/state/n2/containerd", "/state/n2/containerd-state")
    assert runtime["sandbox_image"] == "docker.io/neuron-serving/pause:1"
    assert runtime["cni"]["conf_dir"] == "/state/n2/cni"


def test_pods_of_a_node_get_addresses_of_its_subnet_and_no_way_out() -> None:
    bridge = nodes.cni_configuration(SETTINGS, N2)["plugins"]
    assert isinstance(bridge, list)
    assert bridge[0]["bridge"] == "neuron-n2"
    assert bridge[0]["ipam"]["ranges"] == [[{"subnet": "10.244.1.0/24"}]]
    assert bridge[0]["ipMasq"] is False


def test_two_nodes_share_no_path_but_the_authority() -> None:
    def paths(node: Node) -> set[str]:
        text = json.dumps(nodes.kubelet_configuration(SETTINGS, node)) + nodes.containerd_configuration(SETTINGS, node)
        return set(re.findall(r"/state/[\w./-]+", text))

    assert paths(N1) & paths(N2) == {"/state/certificates/ca.crt"}


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.name)
def test_components_of_a_node_live_in_its_mount_namespace(node: Node) -> None:
    described = nodes.components(SETTINGS, Path("/bin"), node)
    assert [one.name for one in described] == [
        f"{node.name}-{part}" for part in ("containerd", "kubelet", "device-plugin")
    ]
    assert {one.node for one in described} == {node}


def test_kubelet_labels_its_node_as_the_cloud_would() -> None:
    assert nodes.node_labels(N1) == {
        "node.kubernetes.io/instance-type": "inf2.xlarge",
        "topology.kubernetes.io/region": "us-east-1",
        "topology.kubernetes.io/zone": "us-east-1a",
    }
    given = ",".join(f"{key}={value}" for key, value in nodes.node_labels(N1).items())
    assert f"--node-labels={given}" in nodes.kubelet(SETTINGS, Path("/b"), N1).command


def test_the_nodes_are_in_different_zones() -> None:
    assert nodes.node_labels(N2)["topology.kubernetes.io/zone"] == "us-east-1b"


def test_files_are_written_where_the_components_look(tmp_path: Path) -> None:
    settings = Settings(cache=tmp_path / "cache", state=tmp_path / "state")
    settings.node_directory(N1).mkdir(parents=True)
    nodes.write_files(settings, N1)
    for component in nodes.components(settings, tmp_path, N1)[:2]:
        argument = next(
            word for word in component.command if word.startswith(str(settings.state)) or "--config=" in word
        )
        assert Path(argument.removeprefix("--config=")).is_file()
    assert settings.emulator_state(N1).stat().st_mode & 0o1777 == 0o1777, "containers run as nobody special"


def test_private_paths_are_mounted_again_only_where_they_are_not() -> None:
    script = nodes.private_path_script(SETTINGS, N1)
    for path, name in nodes.PRIVATE_PATHS.items():
        assert f"[ /state/n1/{name} -ef {path} ] || mount --bind /state/n1/{name} {path}" in script
    assert script.startswith("set -e")
