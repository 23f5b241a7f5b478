"""On what and with what was measured. No dates."""

from importlib.metadata import version

from bench.machine import host
from cluster.binaries import module_version
from cluster.settings import SOURCE

PACKAGES = ("kopf", "kubernetes", "aiohttp", "pydantic")
MODULES = {"Kubernetes": "k8s.io/kubernetes", "etcd": "go.etcd.io/etcd/server/v3", "kwok": "sigs.k8s.io/kwok"}


def description() -> dict[str, str]:
    go_mod = (SOURCE / "go.mod").read_text()
    return {
        **host(),
        "versions": ", ".join(f"{name} {version(name)}" for name in PACKAGES),
        "servers": ", ".join(f"{name} {module_version(go_mod, module)}" for name, module in MODULES.items()),
    }
