"""From nothing to an installed product: cluster, images, bundles, artifact store, chart; each step safe to repeat."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from demo import store
from demo.kube import CommandError, Kube

ROOT = Path(__file__).parents[2]
RELEASE, NAMESPACE = "neuron-serving", "neuron-serving-system"
OPERATOR_IMAGE = os.environ.get("OPERATOR_IMAGE", "docker.io/neuron-serving/operator:dev")
RUNTIME_IMAGE = os.environ.get("RUNTIME_IMAGE", "docker.io/neuron-serving/runtime:dev")
STORE_IMAGE = os.environ.get("STORE_IMAGE", store.IMAGE)
EXAMPLE_BUNDLES = ("sentiment", "minilm")


@contextmanager
def step(title: str) -> Iterator[None]:
    """Announce a step and, when it ends, say how long it took."""
    started = time.monotonic()
    print(f"==> {title}", flush=True)
    yield
    print(f"    done in {time.monotonic() - started:.1f} s", flush=True)


def tool(*arguments: str) -> None:
    """Run one of the tools beside this one (`cluster`, `images`), its output going where ours goes."""
    subprocess.run([sys.executable, "-m", *arguments], check=True, env=_tool_environment())


def ask(*arguments: str) -> str:
    """What one of the tools prints."""
    ran = subprocess.run(
        [sys.executable, "-m", *arguments], check=True, env=_tool_environment(), stdout=subprocess.PIPE, text=True
    )
    return ran.stdout.strip()


def _tool_environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(ROOT / "hack")}


def cache() -> Path:
    return Path(os.environ.get("NEURON_SERVING_CACHE") or Path.home() / ".cache" / "neuron-serving")


def connect() -> Kube:
    """The running cluster."""
    kubeconfig = ask("cluster", "kubeconfig")
    return Kube(binaries=Path(ask("cluster", "bin")), kubeconfig=Path(kubeconfig) if kubeconfig else None)


def build_bundles() -> dict[str, Path]:
    """Trace the example models; what is already built for the same sources is kept."""
    out = cache() / "bundles"
    subprocess.run([sys.executable, str(ROOT / "examples/models/build.py"), "--out", str(out)], check=True)
    return {name: out / name for name in EXAMPLE_BUNDLES}


def load_images() -> None:
    """Build the images and bring them to the nodes. A cluster that is not ours pulls its own, which must be named."""
    if os.environ.get("CLUSTER") == "current":
        unnamed = [name for name in ("OPERATOR_IMAGE", "RUNTIME_IMAGE", "STORE_IMAGE") if name not in os.environ]
        if unnamed:
            raise CommandError(f"CLUSTER=current can't be given local images; set {', '.join(unnamed)} to pushed ones")
        return
    tool("images", "build", "all")
    tool("cluster", "load", OPERATOR_IMAGE, RUNTIME_IMAGE, STORE_IMAGE)


def install_chart(kube: Kube, *values: str) -> None:
    """helm upgrade --install with the images built here; `values` are further --set arguments."""
    operator_repository, operator_tag = OPERATOR_IMAGE.rsplit(":", 1)
    settings = [
        f"image.repository={operator_repository}",
        f"image.tag={operator_tag}",
        f"runtime.image={RUNTIME_IMAGE}",
        *values,
    ]
    kube.run(
        "helm", "upgrade", "--install", RELEASE, str(ROOT / "charts/neuron-serving"),
        "--namespace", NAMESPACE, "--create-namespace", "--wait", "--timeout", "120s",
        *(argument for value in settings for argument in ("--set", value)),
    )  # fmt: skip


def install() -> Kube:
    """Everything up to the point where a NeuronModel can be applied."""
    with step("1/5 cluster: a real Kubernetes with two emulated inf2.xlarge nodes"):
        tool("cluster", "up")
    kube = connect()
    with step("2/5 images: operator, runtime and the artifact store, built and loaded"):
        load_images()
    with step("3/5 bundles: all-MiniLM-L6-v2 and a sentiment head, traced with torch_neuronx"):
        bundles = build_bundles()
    with step("4/5 artifact store: an S3 server in the cluster"):
        store.start(kube, STORE_IMAGE)
        print(f"    {store.upload(kube, bundles) / 1e6:.0f} MB uploaded")
    with step("5/5 chart: helm upgrade --install neuron-serving"):
        install_chart(kube)
    return kube
