"""The processes that every cluster has once: etcd, API server, controller manager, scheduler, kube-proxy, CoreDNS.

Pure descriptions for bringup to start, and the files they read. Everything listens on the first bridge's own
address, which pods reach and the machine's uplink does not.
"""

import json
from pathlib import Path

from cluster.components import Component
from cluster.settings import (
    CLUSTER_DOMAIN,
    GATEWAY,
    NODES,
    POD_RANGE,
    SERVICE_RANGE,
    Settings,
)

ETCD_PORT = 2379
ETCD_PEER_PORT = 2380
API_PORT = 6443
CONTROLLER_MANAGER_PORT = 10257
SCHEDULER_PORT = 10259
DNS_PORT = 10053
DNS_READY_PORT = 10054
PROXY_METRICS_PORT = 10249
PROXY_HEALTH_PORT = 10256
KUBELET_PORT = 10250
KUBELET_HEALTH_PORT = 10248

LISTENERS = {
    ETCD_PORT: "etcd",
    ETCD_PEER_PORT: "etcd",
    API_PORT: "kube-apiserver",
    CONTROLLER_MANAGER_PORT: "kube-controller-manager",
    SCHEDULER_PORT: "kube-scheduler",
    DNS_PORT: "coredns",
    DNS_READY_PORT: "coredns",
    PROXY_METRICS_PORT: "kube-proxy",
    PROXY_HEALTH_PORT: "kube-proxy",
    KUBELET_PORT: "kubelet",
    KUBELET_HEALTH_PORT: "kubelet",
}

# Writes only: the end-to-end tests count who wrote what; reads would bury them.
AUDIT_POLICY = {
    "apiVersion": "audit.k8s.io/v1",
    "kind": "Policy",
    "omitStages": ["RequestReceived"],
    "rules": [
        # Heartbeats, and questions that are asked by POST.
        {
            "level": "None",
            "resources": [
                {"group": "coordination.k8s.io", "resources": ["leases"]},
                {"group": "authorization.k8s.io"},
                {"group": "authentication.k8s.io"},
            ],
        },
        {"level": "Metadata", "verbs": ["create", "update", "patch", "delete", "deletecollection"]},
        {"level": "None"},
    ],
}


def corefile(settings: Settings) -> str:
    """No forwarding: a name outside the cluster does not exist, and says so at once, without leaving the machine."""
    return f"""\
{CLUSTER_DOMAIN}:{DNS_PORT} in-addr.arpa:{DNS_PORT} {{
  bind {GATEWAY}
  errors
  ready {GATEWAY}:{DNS_READY_PORT}
  kubernetes {CLUSTER_DOMAIN} in-addr.arpa {{
    kubeconfig {settings.kubeconfig("coredns")} neuron-serving
    pods insecure
    ttl 2
  }}
  cache 2
}}
.:{DNS_PORT} {{
  bind {GATEWAY}
  template ANY ANY {{
    rcode NXDOMAIN
  }}
}}
"""


def write_files(settings: Settings) -> None:
    (settings.state / "audit-policy.json").write_text(json.dumps(AUDIT_POLICY, indent=1))
    (settings.state / "Corefile").write_text(corefile(settings))


def etcd(settings: Settings, binaries: Path) -> Component:
    pki = settings.certificates
    url = f"https://{GATEWAY}:{ETCD_PORT}"
    peer_url = f"https://{GATEWAY}:{ETCD_PEER_PORT}"
    return Component(
        "etcd",
        (
            str(binaries / "etcd"),
            f"--data-dir={settings.state / 'etcd'}",
            "--name=neuron-serving",
            # A throw-away cluster: what a power cut would lose is not worth the waiting for the disk.
            "--unsafe-no-fsync",
            f"--listen-client-urls={url}",
            f"--advertise-client-urls={url}",
            f"--listen-peer-urls={peer_url}",
            f"--initial-advertise-peer-urls={peer_url}",
            f"--initial-cluster=neuron-serving={peer_url}",
            *(
                f"--{prefix}{flag}={pki / file}"
                for prefix in ("", "peer-")
                for flag, file in (
                    ("cert-file", "etcd.crt"),
                    ("key-file", "etcd.key"),
                    ("trusted-ca-file", "etcd-ca.crt"),
                )
            ),
            "--client-cert-auth=true",
            "--peer-client-cert-auth=true",
            "--log-level=warn",
        ),
    )


def api_server(settings: Settings, binaries: Path) -> Component:
    pki = settings.certificates
    return Component(
        "kube-apiserver",
        (
            str(binaries / "kube-apiserver"),
            f"--etcd-servers=https://{GATEWAY}:{ETCD_PORT}",
            f"--etcd-cafile={pki / 'etcd-ca.crt'}",
            f"--etcd-certfile={pki / 'apiserver-etcd-client.crt'}",
            f"--etcd-keyfile={pki / 'apiserver-etcd-client.key'}",
            f"--bind-address={GATEWAY}",
            f"--advertise-address={GATEWAY}",
            f"--secure-port={API_PORT}",
            f"--tls-cert-file={pki / 'apiserver.crt'}",
            f"--tls-private-key-file={pki / 'apiserver.key'}",
            f"--client-ca-file={pki / 'ca.crt'}",
            f"--kubelet-client-certificate={pki / 'apiserver-kubelet-client.crt'}",
            f"--kubelet-client-key={pki / 'apiserver-kubelet-client.key'}",
            f"--kubelet-certificate-authority={pki / 'ca.crt'}",
            "--kubelet-preferred-address-types=InternalIP",
            f"--service-account-issuer=https://kubernetes.default.svc.{CLUSTER_DOMAIN}",
            f"--service-account-key-file={pki / 'service-accounts.pub'}",
            f"--service-account-signing-key-file={pki / 'service-accounts.key'}",
            f"--service-cluster-ip-range={SERVICE_RANGE}",
            "--authorization-mode=Node,RBAC",
            "--enable-admission-plugins=NodeRestriction",
            f"--requestheader-client-ca-file={pki / 'front-proxy-ca.crt'}",
            "--requestheader-allowed-names=front-proxy-client",
            "--requestheader-username-headers=X-Remote-User",
            "--requestheader-group-headers=X-Remote-Group",
            "--requestheader-extra-headers-prefix=X-Remote-Extra-",
            f"--proxy-client-cert-file={pki / 'front-proxy-client.crt'}",
            f"--proxy-client-key-file={pki / 'front-proxy-client.key'}",
            f"--audit-policy-file={settings.state / 'audit-policy.json'}",
            f"--audit-log-path={settings.audit_log}",
            "--audit-log-maxsize=200",
            "--audit-log-maxbackup=1",
        ),
    )


def controller_manager(settings: Settings, binaries: Path) -> Component:
    pki = settings.certificates
    return Component(
        "kube-controller-manager",
        (
            str(binaries / "kube-controller-manager"),
            *_delegated(settings.kubeconfig("controller-manager"), CONTROLLER_MANAGER_PORT),
            f"--root-ca-file={pki / 'ca.crt'}",
            f"--service-account-private-key-file={pki / 'service-accounts.key'}",
            f"--cluster-signing-cert-file={pki / 'ca.crt'}",
            f"--cluster-signing-key-file={pki / 'ca.key'}",
            "--use-service-account-credentials=true",
            # Its default is made on the machine whether it is used or not.
            f"--flex-volume-plugin-dir={settings.state / 'volume-plugins'}",
            # A dead kubelet is noticed within 12 s instead of 50: the stories about lost nodes need not wait.
            "--node-monitor-period=2s",
            "--node-monitor-grace-period=12s",
        ),
    )


def scheduler(settings: Settings, binaries: Path) -> Component:
    return Component(
        "kube-scheduler",
        (str(binaries / "kube-scheduler"), *_delegated(settings.kubeconfig("scheduler"), SCHEDULER_PORT)),
    )


def _delegated(kubeconfig: Path, port: int) -> tuple[str, ...]:
    return (
        f"--kubeconfig={kubeconfig}",
        f"--authentication-kubeconfig={kubeconfig}",
        f"--authorization-kubeconfig={kubeconfig}",
        f"--bind-address={GATEWAY}",
        f"--secure-port={port}",
        "--leader-elect=false",
        "--kube-api-qps=1000",
        "--kube-api-burst=2000",
    )


def kube_proxy(settings: Settings, binaries: Path) -> Component:
    """One serves both nodes: they share the machine's network namespace, hence its firewall."""
    return Component(
        "kube-proxy",
        (
            str(binaries / "kube-proxy"),
            f"--kubeconfig={settings.kubeconfig('kube-proxy')}",
            f"--hostname-override={NODES[0].name}",
            "--proxy-mode=iptables",
            f"--cluster-cidr={POD_RANGE}",
            f"--nodeport-addresses={GATEWAY}/32",
            "--iptables-localhost-nodeports=false",
            "--iptables-min-sync-period=200ms",
            # Zero leaves the machine's own connection-tracking settings as they are.
            "--conntrack-max-per-core=0",
            "--conntrack-min=0",
            "--conntrack-tcp-timeout-established=0s",
            "--conntrack-tcp-timeout-close-wait=0s",
            f"--healthz-bind-address={GATEWAY}:{PROXY_HEALTH_PORT}",
            f"--metrics-bind-address={GATEWAY}:{PROXY_METRICS_PORT}",
        ),
    )


def coredns(settings: Settings, binaries: Path) -> Component:
    return Component("coredns", (str(binaries / "coredns"), "-conf", str(settings.state / "Corefile")))


def components(settings: Settings, binaries: Path) -> tuple[Component, ...]:
    """In the order in which they can come up."""
    describe = (etcd, api_server, controller_manager, scheduler, kube_proxy, coredns)
    return tuple(one(settings, binaries) for one in describe)
