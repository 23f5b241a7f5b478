"""Builds the cluster's programs from the Go modules that go.mod pins, once, into a cache outside the repository.

Called by `up` and `build`. The folder's name is a hash of the modules and the flags all programs share, so another
version gets another folder; what only one program is made of (flags, sources of ours) is noted beside it, so that
changing it rebuilds only that program. A killed build goes on with the program it was at; Go's own cache keeps what was
compiled.
"""

import dataclasses
import hashlib
import os
import re
import time
from collections.abc import Collection, Mapping
from pathlib import Path

from cluster.commands import attempt, tail
from cluster.errors import ClusterError
from cluster.progress import say
from cluster.settings import HACK, SOURCE, Settings
from cluster.toolchain import find_go


@dataclasses.dataclass(frozen=True)
class Binary:
    name: str
    package: str
    needs_cluster_version: bool = False
    """It must be told which Kubernetes it is for, because it decides by that even without a cluster."""
    module: Path = SOURCE
    """Folder of its go.mod. A program of ours has one of its own: a line changed in it rebuilds nothing else."""


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
    Binary("helm", "helm.sh/helm/v3/cmd/helm", needs_cluster_version=True),
    Binary("kwok", "sigs.k8s.io/kwok/cmd/kwok"),
    Binary("versitygw", "github.com/versity/versitygw/cmd/versitygw"),
    Binary("kubeconform", "github.com/yannh/kubeconform/cmd/kubeconform"),
    Binary("kstatus", "neuron-serving.dev/hack/kstatus", module=HACK / "kstatus"),
)
# What speaks to a cluster, and all that one takes which is there already.
CLIENTS = tuple(binary for binary in BINARIES if binary.name in ("kubectl", "helm"))


def module_version(go_mod: str, module: str) -> str:
    match = re.search(rf"^\s*(?:require\s+)?{re.escape(module)} (v\S+)", go_mod, re.MULTILINE)
    if match is None:
        raise ClusterError(f"go.mod does not require {module}", f"look at {SOURCE / 'go.mod'}")
    return match[1]


def linker_flags(go_mod: str) -> str:
    """Without these the API server calls itself v0.0.0, and clients complain about the version."""
    major, minor = kubernetes_version(go_mod)
    variables = {
        "k8s.io/component-base/version.gitVersion": module_version(go_mod, "k8s.io/kubernetes"),
        "k8s.io/component-base/version.gitMajor": major,
        "k8s.io/component-base/version.gitMinor": minor,
        "helm.sh/helm/v3/internal/version.version": module_version(go_mod, "helm.sh/helm/v3"),
    }
    return " ".join(["-s", "-w", *_set(variables)])


def own_flags(binary: Binary, go_mod: str) -> str:
    """What one program needs beyond `linker_flags`. `helm template` takes Kubernetes for 1.20 without these."""
    if not binary.needs_cluster_version:
        return ""
    major, minor = kubernetes_version(go_mod)
    package = "helm.sh/helm/v3/pkg/chartutil"
    return " ".join(_set({f"{package}.k8sVersionMajor": major, f"{package}.k8sVersionMinor": minor}))


def own_ingredients(binary: Binary, go_mod: str) -> str:
    """What only this program is made of: its flags, and a hash of its sources if they are ours."""
    flags = own_flags(binary, go_mod)
    if binary.module == SOURCE:
        return flags
    sources = sorted(path for path in binary.module.iterdir() if path.suffix in (".go", ".mod", ".sum"))
    return f"{flags} {hashlib.sha256(b''.join(path.read_bytes() for path in sources)).hexdigest()}".lstrip()


def kubernetes_version(go_mod: str) -> tuple[str, str]:
    """Major and minor, such as ("1", "36")."""
    major, minor, _ = module_version(go_mod, "k8s.io/kubernetes").removeprefix("v").split(".", 2)
    return major, minor


def _set(variables: Mapping[str, str]) -> list[str]:
    return [f"-X {name}={value}" for name, value in variables.items()]


def cache_key(go_mod: str, go_sum: str) -> str:
    machine = os.uname().machine
    return hashlib.sha256("\0".join((go_mod, go_sum, linker_flags(go_mod), machine)).encode()).hexdigest()[:12]


def binaries_directory(settings: Settings) -> Path:
    return settings.cache / "bin" / cache_key(_go_mod(), (SOURCE / "go.sum").read_text())


def missing(settings: Settings, wanted: Collection[Binary] | None = None) -> tuple[Binary, ...]:
    """Of the wanted ones, which are all if not given."""
    folder, go_mod = binaries_directory(settings), _go_mod()
    return tuple(
        binary for binary in wanted or BINARIES if not _is_built(binary, folder, own_ingredients(binary, go_mod))
    )


def _is_built(binary: Binary, folder: Path, ingredients: str) -> bool:
    note = _note(binary, folder)
    return (folder / binary.name).exists() and (note.read_text() if note.exists() else "") == ingredients


def _note(binary: Binary, folder: Path) -> Path:
    return folder / f".{binary.name}.flags"


def _go_mod() -> str:
    return (SOURCE / "go.mod").read_text()


def build(settings: Settings, wanted: Collection[Binary] | None = None) -> Path:
    """Builds what is missing of the wanted ones, which are all if not given; returns the folder of all programs."""
    folder, wanted = binaries_directory(settings), wanted or BINARIES
    todo = missing(settings, wanted)
    if not todo:
        return folder
    folder.mkdir(parents=True, exist_ok=True)
    go = find_go(settings)
    say(f"building {len(todo)} of {len(wanted)} programs from Go modules into {folder} (about ten minutes, once)")
    go_mod = _go_mod()
    for position, binary in enumerate(wanted, start=1):
        if binary in todo:
            say(f"[{position}/{len(wanted)}] {binary.name} …")
            seconds = _build_one(go, binary, folder, go_mod)
            say(f"[{position}/{len(wanted)}] {binary.name} … {seconds:.0f} s")
    return folder


def _build_one(go: Path, binary: Binary, folder: Path, go_mod: str) -> float:
    started = time.monotonic()
    partial = folder / f".{binary.name}.partial"
    ingredients = own_ingredients(binary, go_mod)
    flags = f"{linker_flags(go_mod)} {own_flags(binary, go_mod)}".rstrip()
    command = [str(go), "build", "-trimpath", "-buildvcs=false", "-ldflags", flags, "-o", str(partial), binary.package]
    done = attempt(*command, environment=_environment(os.environ), cwd=binary.module)
    if done.returncode != 0:
        raise ClusterError(
            f"go build {binary.package} failed:\n{tail(done.stderr, 15)}",
            "is the Go module proxy reachable (`go env GOPROXY`) and is there space (`df -h`)? "
            "Run the same command again; what is built already is kept",
        )
    partial.replace(folder / binary.name)
    if ingredients:
        _note(binary, folder).write_text(ingredients)
    return time.monotonic() - started


def _environment(environment: Mapping[str, str]) -> dict[str, str]:
    """No C compiler, no workspace of the user's, and modules exactly as go.sum has them."""
    return {**environment, "CGO_ENABLED": "0", "GOWORK": "off", "GOFLAGS": "-mod=readonly"}
