"""What the cluster holds from its first moment: the DNS Service, and the rights of CoreDNS and kube-proxy.

Pure objects for bringup to apply. CoreDNS runs on the machine, so its Service has no selector and its
EndpointSlice is written here.
"""

from typing import Any

from cluster.control_plane import DNS_PORT
from cluster.settings import DNS_SERVICE_ADDRESS, GATEWAY

Object = dict[str, Any]


def objects() -> tuple[Object, ...]:
    return (_dns_service(), _dns_endpoints(), _coredns_role(), *_bindings())


def path_of(item: Object) -> str:
    """Where the API server keeps the object."""
    group = item["apiVersion"]
    root = f"/api/{group}" if group == "v1" else f"/apis/{group}"
    namespace = item["metadata"].get("namespace")
    scope = f"/namespaces/{namespace}" if namespace else ""
    return f"{root}{scope}/{item['kind'].lower()}s/{item['metadata']['name']}"


def _dns_service() -> Object:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "kube-dns", "namespace": "kube-system", "labels": {"k8s-app": "kube-dns"}},
        "spec": {
            "clusterIP": DNS_SERVICE_ADDRESS,
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP", "targetPort": DNS_PORT},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP", "targetPort": DNS_PORT},
            ],
        },
    }


def _dns_endpoints() -> Object:
    labels = {
        "kubernetes.io/service-name": "kube-dns",
        "endpointslice.kubernetes.io/managed-by": "neuron-serving-cluster",
    }
    return {
        "apiVersion": "discovery.k8s.io/v1",
        "kind": "EndpointSlice",
        "metadata": {"name": "kube-dns-machine", "namespace": "kube-system", "labels": labels},
        "addressType": "IPv4",
        "endpoints": [{"addresses": [GATEWAY], "conditions": {"ready": True}}],
        "ports": [
            {"name": "dns", "port": DNS_PORT, "protocol": "UDP"},
            {"name": "dns-tcp", "port": DNS_PORT, "protocol": "TCP"},
        ],
    }


def _coredns_role() -> Object:
    watch = ["list", "watch"]
    return {
        "apiVersion": "rbac.authorization.k8s.io/v1",
        "kind": "ClusterRole",
        "metadata": {"name": "coredns"},
        "rules": [
            {"apiGroups": [""], "resources": ["endpoints", "services", "pods", "namespaces"], "verbs": watch},
            {"apiGroups": ["discovery.k8s.io"], "resources": ["endpointslices"], "verbs": watch},
        ],
    }


def _bindings() -> tuple[Object, ...]:
    # The authorizer's own role for proxies is bound to a group of service accounts only; ours is a plain user.
    pairs = (("coredns", "coredns", "coredns"), ("kube-proxy", "system:node-proxier", "system:kube-proxy"))
    return tuple(
        {
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRoleBinding",
            "metadata": {"name": name},
            "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role},
            "subjects": [{"kind": "User", "name": user, "apiGroup": "rbac.authorization.k8s.io"}],
        }
        for name, role, user in pairs
    )
