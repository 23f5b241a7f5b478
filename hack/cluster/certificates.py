"""The cluster's certificates and kubeconfigs: three authorities (clients and servers, front proxy, etcd).

Called by bringup before anything starts; existing files are kept, so a restarted cluster keeps its identity.
Elliptic-curve keys throughout: the whole set takes well under a second.
"""

import base64
import dataclasses
import datetime
import ipaddress
import json
import os
from collections.abc import Sequence
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from cluster.settings import API_SERVICE_ADDRESS, CLUSTER_DOMAIN, GATEWAY, NODES, Settings

_VALID_DAYS = 365
API_URL = f"https://{GATEWAY}:6443"


@dataclasses.dataclass(frozen=True)
class Identity:
    """One certificate to issue: who it names, which authority signs it, and what it may be used for."""

    name: str
    common_name: str
    organization: str = ""
    authority: str = "ca"
    hosts: tuple[str, ...] = ()
    is_client: bool = True


def identities() -> tuple[Identity, ...]:
    api_hosts = (
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        f"kubernetes.default.svc.{CLUSTER_DOMAIN}",
        "localhost",
        API_SERVICE_ADDRESS,
        GATEWAY,
        "127.0.0.1",
    )
    shared = (
        Identity("apiserver", "kube-apiserver", hosts=api_hosts, is_client=False),
        Identity("apiserver-kubelet-client", "kube-apiserver-kubelet-client", "system:masters"),
        Identity("front-proxy-client", "front-proxy-client", authority="front-proxy-ca"),
        Identity("etcd", "etcd", authority="etcd-ca", hosts=("localhost", "127.0.0.1", GATEWAY)),
        Identity("apiserver-etcd-client", "kube-apiserver", authority="etcd-ca"),
    )
    users = (
        Identity("admin", "kubernetes-admin", "system:masters"),
        Identity("controller-manager", "system:kube-controller-manager"),
        Identity("scheduler", "system:kube-scheduler"),
        Identity("kube-proxy", "system:kube-proxy"),
        Identity("coredns", "coredns"),
    )
    kubelets = tuple(
        identity
        for node in NODES
        for identity in (
            Identity(node.name, f"system:node:{node.name}", "system:nodes"),
            Identity(
                f"{node.name}-server",
                f"system:node:{node.name}",
                "system:nodes",
                hosts=(node.name, node.address),
                is_client=False,
            ),
        )
    )
    return shared + users + kubelets


KUBECONFIG_USERS = ("admin", "controller-manager", "scheduler", "kube-proxy", "coredns", *(node.name for node in NODES))


def write_certificates(settings: Settings) -> None:
    """Issues what is missing. An authority and what it signed belong together, so a partial set is made anew."""
    folder = settings.certificates
    if (folder / "complete").exists():
        return
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    authorities = {name: _issue_authority(folder, name) for name in ("ca", "front-proxy-ca", "etcd-ca")}
    for identity in identities():
        _issue(folder, identity, *authorities[identity.authority])
    _write_service_account_key(folder)
    for user in KUBECONFIG_USERS:
        _write(settings.kubeconfig(user), render_kubeconfig(folder, user), mode=0o600)
    _write(folder / "complete", b"", mode=0o600)


def render_kubeconfig(folder: Path, user: str) -> bytes:
    """JSON is YAML; the certificates are inside, so that the file can be copied alone."""

    def inline(name: str) -> str:
        return base64.b64encode((folder / name).read_bytes()).decode()

    name = "neuron-serving"
    document = {
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{"name": name, "cluster": {"server": API_URL, "certificate-authority-data": inline("ca.crt")}}],
        "users": [
            {
                "name": user,
                "user": {
                    "client-certificate-data": inline(f"{user}.crt"),
                    "client-key-data": inline(f"{user}.key"),
                },
            }
        ],
        "contexts": [{"name": name, "context": {"cluster": name, "user": user}}],
        "current-context": name,
    }
    return json.dumps(document, indent=1).encode()


def _issue_authority(folder: Path, name: str) -> tuple[x509.Certificate, ec.EllipticCurvePrivateKey]:
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"neuron-serving {name}")])
    certificate = (
        _builder(subject, subject, key)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=True), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    _write_pair(folder, name, certificate, key)
    return certificate, key


def _issue(
    folder: Path, identity: Identity, authority: x509.Certificate, authority_key: ec.EllipticCurvePrivateKey
) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    names = [x509.NameAttribute(NameOID.COMMON_NAME, identity.common_name)]
    if identity.organization:
        names.insert(0, x509.NameAttribute(NameOID.ORGANIZATION_NAME, identity.organization))
    uses = [ExtendedKeyUsageOID.CLIENT_AUTH] if identity.is_client else []
    if identity.hosts:
        uses.append(ExtendedKeyUsageOID.SERVER_AUTH)
    builder = (
        _builder(x509.Name(names), authority.subject, key)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(_key_usage(signs_certificates=False), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False)
    )
    if identity.hosts:
        builder = builder.add_extension(x509.SubjectAlternativeName(_alternative_names(identity.hosts)), critical=False)
    _write_pair(folder, identity.name, builder.sign(authority_key, hashes.SHA256()), key)


def _builder(subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePrivateKey) -> x509.CertificateBuilder:
    now = datetime.datetime.now(datetime.UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=5))
        .not_valid_after(now + datetime.timedelta(days=_VALID_DAYS))
    )


def _key_usage(*, signs_certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=signs_certificates,
        crl_sign=signs_certificates,
        encipher_only=False,
        decipher_only=False,
    )


def _alternative_names(hosts: Sequence[str]) -> list[x509.GeneralName]:
    names: list[x509.GeneralName] = []
    for host in hosts:
        try:
            names.append(x509.IPAddress(ipaddress.ip_address(host)))
        except ValueError:
            names.append(x509.DNSName(host))
    return names


def _write_service_account_key(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    public = key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    _write(folder / "service-accounts.key", _private_bytes(key), mode=0o600)
    _write(folder / "service-accounts.pub", public, mode=0o600)


def _write_pair(folder: Path, name: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
    _write(folder / f"{name}.crt", certificate.public_bytes(serialization.Encoding.PEM), mode=0o600)
    _write(folder / f"{name}.key", _private_bytes(key), mode=0o600)


def _private_bytes(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )


def _write(path: Path, content: bytes, *, mode: int) -> None:
    """Never readable by others, not even for the moment between creation and chmod."""
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
        file.write(content)
