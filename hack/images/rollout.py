"""Brings a freshly built image into the running cluster's pods: the inner loop of `make reload`.

The tag stays `:dev`. A frozen pod template names an image by its tag, and rewriting the tag in it would be a rollout
that no user asked for; so the node's copy of the tag is replaced and the pods that use it are replaced too.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import NamedTuple

from cluster import binaries, targets
from cluster.settings import from_environment
from images import shell
from images.builds import Base, build
from images.catalog import IMAGES
from images.errors import ImageError

OPERATOR_SELECTOR = "app.kubernetes.io/name=neuron-serving,app.kubernetes.io/component=operator"
RUNTIME_SELECTOR = "app.kubernetes.io/name=neuron-runtime,app.kubernetes.io/managed-by=neuron-serving"
MODEL_LABEL = "neuron-serving.dev/model"
# A pod that is replaced by hand needs no drain; a development loop should not wait for one either.
GRACE_SECONDS = 1
TIMEOUT_SECONDS = 120


class RuntimePod(NamedTuple):
    """A pod of a model, and the Deployment that will replace it."""

    namespace: str
    name: str
    deployment: str


def kubectl(*arguments: str) -> str:
    """kubectl against the cluster that `python -m cluster` speaks to."""
    settings = from_environment(os.environ)
    program = binaries.build(settings) / "kubectl"
    return shell.run([str(program), f"--kubeconfig={targets.kubeconfig(settings)}", *arguments])


def runtime_pods(listing: str, image: str) -> list[RuntimePod]:
    """The pods in kubectl's JSON `listing` whose runtime container runs `image`."""
    pods = []
    for item in json.loads(listing)["items"]:
        metadata, containers = item["metadata"], item["spec"]["containers"]
        if any(container["name"] == "runtime" and container["image"] == image for container in containers):
            pods.append(RuntimePod(metadata["namespace"], metadata["name"], metadata["labels"][MODEL_LABEL]))
    return sorted(pods)


def restart_operator(namespace: str) -> None:
    """A rolling restart of the operator's Deployment."""
    where = [f"--namespace={namespace}", f"--selector={OPERATOR_SELECTOR}"]
    names = kubectl("get", "deployment", *where, "--output=name").split()
    if not names:
        raise ImageError(f"no operator runs in namespace {namespace}; install the chart first, or give --namespace")
    for name in names:
        kubectl("rollout", "restart", f"--namespace={namespace}", name)
        kubectl("rollout", "status", f"--namespace={namespace}", f"--timeout={TIMEOUT_SECONDS}s", name)


def restart_runtime(namespace: str) -> int:
    """Replace the runtime's pods one at a time; returns how many there were."""
    where = [f"--namespace={namespace}"] if namespace else ["--all-namespaces"]
    listing = kubectl("get", "pods", *where, f"--selector={RUNTIME_SELECTOR}", "--output=json")
    pods = runtime_pods(listing, IMAGES["runtime"].tag_name)
    for pod in pods:
        own = f"--namespace={pod.namespace}"
        kubectl("delete", "pod", own, pod.name, f"--grace-period={GRACE_SECONDS}")
        kubectl("rollout", "status", own, f"--timeout={TIMEOUT_SECONDS}s", f"deployment/{pod.deployment}")
    return len(pods)


def reload(name: str, namespace: str) -> None:
    """Build `name`, load it into every node and replace the pods that run it."""
    started = time.monotonic()
    image = IMAGES[name]
    build(image, Base())
    shell.run([sys.executable, "-m", "cluster", "load", image.tag_name])
    loaded = time.monotonic()
    if name == "operator":
        restart_operator(namespace or "neuron-serving-system")
        replaced = 1
    else:
        replaced = restart_runtime(namespace)
    done = time.monotonic()
    print(f"images: {name} built and loaded in {loaded - started:.1f} s, {replaced} pods in {done - loaded:.1f} s")
