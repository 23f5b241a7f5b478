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
OPERATOR_NAMESPACE = "neuron-serving-system"
MODEL_LABEL = "neuron-serving.dev/model"
# A pod that is replaced by hand needs no drain; a development loop should not wait for one either.
GRACE_SECONDS = 1
TIMEOUT_SECONDS = 120


class StalePod(NamedTuple):
    """A pod that runs an older build of the image."""

    namespace: str
    name: str
    labels: dict[str, str]
    is_ready: bool


def kubectl(*arguments: str) -> str:
    """kubectl against the cluster that `python -m cluster` speaks to."""
    settings = from_environment(os.environ)
    program = binaries.build(settings) / "kubectl"
    return shell.run([str(program), f"--kubeconfig={targets.kubeconfig(settings)}", *arguments])


def stale_pods(listing: str, image: str, image_id: str) -> list[StalePod]:
    """The pods of kubectl's JSON `listing` with a container that runs `image`, but not the build `image_id` of it."""
    pods = []
    for item in json.loads(listing)["items"]:
        metadata, status = item["metadata"], item.get("status", {})
        ours = {one["name"] for one in item["spec"]["containers"] if one["image"] == image}
        running = {one["name"]: one["imageID"] for one in status.get("containerStatuses", [])}
        if any(running.get(name, "").removeprefix("sha256:") != image_id for name in ours):
            conditions = {one["type"]: one["status"] for one in status.get("conditions", [])}
            is_ready = conditions.get("Ready") == "True"
            pods.append(StalePod(metadata["namespace"], metadata["name"], metadata.get("labels", {}), is_ready))
    return sorted(pods, key=lambda pod: pod[:2])


def find_stale(name: str, image_id: str, selector: str, namespace: str) -> list[StalePod]:
    """`stale_pods` of the cluster, in one namespace or, where that is empty, in all."""
    where = f"--namespace={namespace}" if namespace else "--all-namespaces"
    listing = kubectl("get", "pods", where, f"--selector={selector}", "--output=json")
    return stale_pods(listing, IMAGES[name].tag_name, image_id)


def restart_operator(namespace: str, image_id: str) -> int:
    """A rolling restart of the operator's Deployment, if it runs an older build; how many pods that were."""
    where = [f"--namespace={namespace}", f"--selector={OPERATOR_SELECTOR}"]
    names = kubectl("get", "deployment", *where, "--output=name").split()
    if not names:
        raise ImageError(f"no operator runs in namespace {namespace}; install the chart first, or give --namespace")
    stale = find_stale("operator", image_id, OPERATOR_SELECTOR, namespace)
    for name in names if stale else ():
        kubectl("rollout", "restart", f"--namespace={namespace}", name)
        kubectl("rollout", "status", f"--namespace={namespace}", f"--timeout={TIMEOUT_SECONDS}s", name)
    return len(stale)


def restart_runtime(namespace: str, image_id: str) -> int:
    """Replace the runtime pods that run an older build, one at a time; returns how many there were.

    A model that did not serve before is not waited for: it may be the reason for the change, or waiting for cores.
    """
    stale = find_stale("runtime", image_id, RUNTIME_SELECTOR, namespace)
    waiting = {(pod.namespace, pod.labels[MODEL_LABEL]) for pod in stale if not pod.is_ready}
    for pod in stale:
        own, model = f"--namespace={pod.namespace}", pod.labels[MODEL_LABEL]
        kubectl("delete", "pod", own, pod.name, f"--grace-period={GRACE_SECONDS}", "--ignore-not-found")
        if (pod.namespace, model) not in waiting:
            kubectl("rollout", "status", own, f"--timeout={TIMEOUT_SECONDS}s", f"deployment/{model}")
    return len(stale)


def reload(name: str, namespace: str) -> None:
    """Build `name`, load it into every node and replace the pods that run an older build of it."""
    started = time.monotonic()
    image = IMAGES[name]
    image_id = build(image, Base())
    shell.run([sys.executable, "-m", "cluster", "load", image.tag_name])
    loaded = time.monotonic()
    if name == "operator":
        replaced = restart_operator(namespace or OPERATOR_NAMESPACE, image_id)
    else:
        replaced = restart_runtime(namespace, image_id)
    took = f"{time.monotonic() - loaded:.1f} s"
    print(f"images: {name} built and loaded in {loaded - started:.1f} s, {replaced} pods replaced in {took}")
