"""Builds the cluster's programs from the Go modules that go.mod pins, once, into a cache outside the repository.

Called by `up` and `build`. The folder's name is a hash of everything that decides the result, so another version
gets another folder. A killed build goes on with the program it was at; Go's own cache keeps what was compiled.
"""

import dataclasses
import hashlib
import os
import re
import time
from collections.abc import Mapping
from pathlib import Path

from cluster.commands import attempt, tail
from cluster.errors import ClusterError
from cluster.progress import say
from cluster.settings import SOURCE, Settings
from cluster.toolchain import find_go


@dataclasses.dataclass(frozen=True)
class Binary:
    name: str
    package: str


# The slow ones first: what follows shares most of their packages.
BINARIES = (
    Binary("kube-apiserver", "k8s.io/kubernetes/cmd/kube-apiserver"),
    Binary("kubectl", "k8s.io/kubernetes/cmd/kubectl"),
    Binary("kube-controller-manager", "k8s.io/kubernetes/cmd/kube-controller-manager"),
    Binary("kubelet", "k8s.io/kubernetes/cmd/kubelet"),
    Binary("kube-scheduler", "k8s.io/kubernetes/cmd/kube-scheduler"),
    Binary("kube-proxy", "k8s.io/kubernetes/cmd/kube-proxy"),
    Binary("etcd", "go.etcd.io/etcd/server/v3"),
    Binary("coredns", "github.com/coredns/coredns"),
    Binary("helm", "helm.sh/helm/v3/cmd/helm"),
    Binary("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    Binary("versitygw", "github.com/versity/versitygw/cmd/versitygw"),
    Binary("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
)


def module_version(go_mod: str, module: str) -> str:
    match = re.search(rf"^\s*(?:require\s+)?{re.escape(module)} (v\S+)", go_mod, re.MULTILINE)
    if match is None:
        raise ClusterError(f"go.mod does not require {module}", f"look at {SOURCE / 'go.mod'}")
    return match[1]


def linker_flags(go_mod: str) -> str:
    """Without these the API server calls itself v0.0.0, and clients complain about the version."""
    version = module_version(go_mod, "k8s.io/kubernetes")
    major, minor, _ = version.removeprefix("v").split(".", 2)
    variables = {
        "k8s.io/component-base/version.gitVersion": version,
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "helm.sh/helm/v3/internal/version.version": module_version(go_mod, "helm.sh/helm/v3"),
    }
    return " ".join(["-s", "-w", *(f"-X {name}={value}" for name, value in variables.items())])


def cache_key(go_mod: str, go_sum: str) -> str:
    machine = os.uname().machine
    return hashlib.sha256("\0".join((go_mod, go_sum, linker_flags(go_mod), machine)).encode()).hexdigest()[:12]


def binaries_directory(settings: Settings) -> Path:
    return settings.cache / "bin" / cache_key((SOURCE / "go.mod").read_text(), (SOURCE / "go.sum").read_text())


def missing(settings: Settings) -> tuple[Binary, ...]:
    folder = binaries_directory(settings)
    return tuple(binary for binary in BINARIES if not (folder / binary.name).exists())


def build(settings: Settings) -> Path:
    """Builds what is missing; returns the folder of all programs."""
    folder = binaries_directory(settings)
    todo = missing(settings)
    if not todo:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    go = find_go(settings)
    say(f"building {len(todo)} of {len(BINARIES)} programs from Go modules into {folder} (about ten minutes, once)")
    flags = linker_flags((SOURCE / "go.mod").read_text())
    for position, binary in enumerate(BINARIES, start=1):
        if binary in todo:
            say(f"[{position}/{len(BINARIES)}] {binary.name} …")
            seconds = _build_one(go, binary, folder, flags)
            say(f"[{position}/{len(BINARIES)}] {binary.name} … {seconds:.0f} s")
    return folder


def _build_one(go: Path, binary: Binary, folder: Path, flags: str) -> float:
    started = time.monotonic()
    partial = folder / f".{binary.name}.partial"
    command = [str(go), "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", str(partial), binary.package]
    done = attempt(*command, environment=_environment(os.environ), cwd=SOURCE)
    if done.returncode != 0:
        raise ClusterError(
            f"go build {binary.package} failed:\n{tail(done.stderr, 15)}",
            "is the Go module proxy reachable (`go env GOPROXY`) and is there space (`df -h`)? "
            "Run the same command again; what is built already is kept",
        )
    partial.replace(folder / binary.name)
    return time.monotonic() - started


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """No C compiler, no workspace of the user's, and modules exactly as go.sum has them."""
    return {**environment, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
