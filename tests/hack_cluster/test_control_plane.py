"""The control plane's processes listen where pods reach them and the uplink does not, and over TLS."""

import re
from pathlib import Path

import pytest

from cluster import addons, control_plane
from cluster.components import Component, command_line
from cluster.settings import GATEWAY, NODES, Settings

SETTINGS = Settings(cache=Path("/cache"), state=Path("/state"))
COMPONENTS = control_plane.components(SETTINGS, Path("/bin"))


@pytest.mark.parametrize("component", COMPONENTS, ids=lambda component: component.name)
def test_component_listens_on_the_first_bridge_alone(component: Component) -> None:
    text = " ".join(component.command) + (control_plane.corefile(SETTINGS) if component.name == "coredns" else "")
    addresses = set(re.findall(r"(?:address=|https?://|bind )(\d+\.\d+\.\d+\.\d+)", text))
    assert addresses == {GATEWAY}
    assert "http://" not in text


def test_order_of_the_components_is_the_order_in_which_they_need_each_other() -> None:
    names = [component.name for component in COMPONENTS]
    assert names[:2] == ["etcd", "kube-apiserver"]
    assert set(names) <= set(control_plane.LISTENERS.values())


def test_api_server_authorizes_by_role_and_writes_an_audit_log() -> None:
    command = control_plane.api_server(SETTINGS, Path("/bin")).command
    for flag in (
        "--authorization-mode=Node,RBAC",
        "--enable-admission-plugins=NodeRestriction",
        "--audit-log-path=/state/logs/audit.jsonl",
        "--kubelet-certificate-authority=/state/certificates/ca.crt",
    ):
        assert flag in command


@pytest.mark.parametrize("node", [None, NODES[1]], ids=["machine", "node"])
def test_command_of_a_node_enters_its_mount_namespace(node: object) -> None:
    component = Component("x", ("program", "--flag"), NODES[1] if node else None)
    entered = ("nsenter", "--mount=/state/namespaces/n2", "--") if node else ()
    assert command_line(SETTINGS, component) == (*entered, "program", "--flag")


def test_names_outside_the_cluster_are_never_forwarded() -> None:
    corefile = control_plane.corefile(SETTINGS)
    assert "forward" not in corefile
    assert "rcode NXDOMAIN" in corefile


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("kube-dns", "/api/v1/namespaces/kube-system/services/kube-dns"),
        ("kube-dns-machine", "/apis/discovery.k8s.io/v1/namespaces/kube-system/endpointslices/kube-dns-machine"),
        ("kube-proxy", "/apis/rbac.authorization.k8s.io/v1/clusterrolebindings/kube-proxy"),
    ],
)
def test_object_is_applied_where_the_api_keeps_it(name: str, path: str) -> None:
    (item,) = [item for item in addons.objects() if item["metadata"]["name"] == name]
    assert addons.path_of(item) == path


def test_dns_service_sends_to_where_coredns_listens() -> None:
    by_kind = {item["kind"]: item for item in addons.objects()}
    assert by_kind["Service"]["spec"]["clusterIP"] in "10.96.0.10"
    assert {port["port"] for port in by_kind["EndpointSlice"]["ports"]} == {control_plane.DNS_PORT}
    assert by_kind["EndpointSlice"]["endpoints"][0]["addresses"] == [GATEWAY]
