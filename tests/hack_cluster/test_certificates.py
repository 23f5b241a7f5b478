"""Every certificate verifies against its authority, names the right hosts, and is readable by root alone."""

import base64
import ipaddress
import json
import stat
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster import certificates
from cluster.settings import NODES, Node, Settings


@pytest.fixture(scope="module")
def settings(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    folder = tmp_path_factory.mktemp("cluster")
    made = Settings(cache=folder / "cache", state=folder / "state")
    certificates.write_certificates(made)
    return made


def read(settings: Settings, name: str) -> x509.Certificate:
    return x509.load_pem_x509_certificate((settings.certificates / f"{name}.crt").read_bytes())


@pytest.mark.parametrize("identity", certificates.identities(), ids=lambda identity: identity.name)
def test_certificate_is_issued_by_its_authority(settings: Settings, identity: certificates.Identity) -> None:
    certificate = read(settings, identity.name)
    certificate.verify_directly_issued_by(read(settings, identity.authority))
    assert certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)[0].value == identity.common_name
    uses = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    assert (ExtendedKeyUsageOID.CLIENT_AUTH in uses) == identity.is_client
    assert (ExtendedKeyUsageOID.SERVER_AUTH in uses) == bool(identity.hosts)


@pytest.mark.parametrize("name", ["front-proxy-ca", "etcd-ca"])
def test_an_etcd_or_proxy_certificate_is_no_user_of_the_api(settings: Settings, name: str) -> None:
    signed = [identity for identity in certificates.identities() if identity.authority == name]
    assert signed
    for identity in signed:
        with pytest.raises(ValueError, match="Issuer"):
            read(settings, identity.name).verify_directly_issued_by(read(settings, "ca"))


def test_pods_can_verify_the_api_server_by_name_and_service_address(settings: Settings) -> None:
    names = read(settings, "apiserver").extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert "kubernetes.default.svc" in names.get_values_for_type(x509.DNSName)
    assert ipaddress.ip_address("10.96.0.1") in names.get_values_for_type(x509.IPAddress)


@pytest.mark.parametrize("node", NODES, ids=lambda node: node.name)
def test_kubelet_is_a_node_and_serves_on_its_own_address(settings: Settings, node: Node) -> None:
    client = read(settings, node.name)
    assert client.subject.rfc4514_string() == f"CN=system:node:{node.name},O=system:nodes"
    server = read(settings, f"{node.name}-server").extensions.get_extension_for_class(x509.SubjectAlternativeName)
    assert server.value.get_values_for_type(x509.IPAddress) == [ipaddress.ip_address(node.address)]


@pytest.mark.parametrize("user", certificates.KUBECONFIG_USERS)
def test_kubeconfig_holds_everything_in_itself(settings: Settings, user: str) -> None:
    document = json.loads(settings.kubeconfig(user).read_text())
    inside = document["users"][0]["user"]
    pem = base64.b64decode(inside["client-certificate-data"])
    assert x509.load_pem_x509_certificate(pem) == read(settings, user)
    assert document["clusters"][0]["cluster"]["server"] == "https://10.244.0.1:6443"


def test_nothing_is_readable_by_others(settings: Settings) -> None:
    files = [*settings.certificates.iterdir(), *settings.state.glob("*.kubeconfig")]
    assert {stat.S_IMODE(path.stat().st_mode) for path in files} == {0o600}
    assert stat.S_IMODE(settings.certificates.stat().st_mode) == 0o700


def test_second_run_keeps_a_complete_set_and_replaces_a_partial_one(tmp_path: Path) -> None:
    settings = Settings(cache=tmp_path / "cache", state=tmp_path / "state")
    certificates.write_certificates(settings)
    first = (settings.certificates / "admin.crt").read_bytes()
    certificates.write_certificates(settings)
    assert (settings.certificates / "admin.crt").read_bytes() == first
    (settings.certificates / "complete").unlink()
    certificates.write_certificates(settings)
    read(settings, "admin").verify_directly_issued_by(read(settings, "ca"))
    assert (settings.certificates / "admin.crt").read_bytes() != first
