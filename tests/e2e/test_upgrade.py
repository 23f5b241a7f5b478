"""A new release is installed over the old one: nothing restarts, and a model adopts it with its next change."""

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from cluster import targets
from cluster.settings import from_environment
from demo import installation
from demo.kube import Kube
from e2e import releases
from e2e.steady_load import steady_load
from e2e.world import World

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(targets.chosen() != "local", reason="takes nodes that can be given images of two releases"),
]

NEXT_RUNTIME = "docker.io/neuron-serving/runtime:next"
MODELS = ("stays", "changes")
LEAST_ANSWERS = 500


@pytest.fixture
def previous_release(kube: Kube, tmp_path: Path) -> Iterator[None]:
    """The previous release in the place of this one, which comes back at the end; the next one is at hand."""
    for name, load in (("previous", releases.load_previous_operator), ("next", releases.load_next_operator)):
        (tmp_path / name).mkdir()
        load(tmp_path / name)
    releases.name_image(from_environment(os.environ), installation.RUNTIME_IMAGE, NEXT_RUNTIME)
    try:
        releases.install(kube)
        yield
    finally:
        installation.install_chart(kube)


@pytest.fixture
def served_by_previous(previous_release: None, world: World) -> tuple[str, ...]:
    """Two models that the previous release made and serves."""
    for name in MODELS:
        world.apply_model(name)
    for name in MODELS:
        world.wait_until_settled(name)
    return MODELS


def running(world: World, name: str) -> dict[str, Any]:
    """What an upgrade must not touch: pods and containers as they run, and the template that made them."""
    deployment = world.kube.get("deployment", name, world.namespace)
    replica_sets = world.kube.list("replicasets", namespace=world.namespace, labels=f"neuron-serving.dev/model={name}")
    containers = [
        (container["name"], container["containerID"], container["restartCount"])
        for pod in world.pods(name)
        for kind in ("initContainerStatuses", "containerStatuses")
        for container in pod["status"][kind]
    ]
    return {
        "pods": sorted(pod["metadata"]["uid"] for pod in world.pods(name)),
        "containers": sorted(containers),
        "replica sets": sorted(one["metadata"]["uid"] for one in replica_sets),
        "template": deployment["spec"]["template"],
        "rollout": deployment["metadata"]["annotations"]["deployment.kubernetes.io/revision"],
    }


def rendering(world: World, name: str) -> tuple[bool, int]:
    """What the next release renders in another way: whether its variable is there, and how often readiness is asked."""
    containers = running(world, name)["template"]["spec"]["containers"]
    runtime = next(container for container in containers if container["name"] == "runtime")
    return "NEXT" in {variable["name"] for variable in runtime["env"]}, runtime["readinessProbe"]["periodSeconds"]


def images(world: World, name: str) -> set[str]:
    return {container["image"] for pod in world.pods(name) for container in pod["spec"]["containers"]}


def conditions(world: World, name: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = world.kube.get("neuronmodel", name, world.namespace)["status"]["conditions"]
    return found


def wait_until_seen(world: World, name: str, deadline_s: int) -> None:
    """Change what no pod is made of, and wait until the running operator has brought it to the Deployment."""
    world.patch(name, {"rollout": {"progressDeadlineSeconds": deadline_s}})
    world.wait(f"deployment/{name}", f"jsonpath={{.spec.progressDeadlineSeconds}}={deadline_s}")
    world.wait_until_settled(name)


def operator_images(kube: Kube) -> set[str]:
    pods = kube.list("pods", namespace=installation.NAMESPACE, labels="app.kubernetes.io/component=operator")
    return {pod["spec"]["containers"][0]["image"] for pod in pods if "deletionTimestamp" not in pod["metadata"]}


def test_an_upgrade_restarts_nothing_and_the_next_change_adopts_it(
    served_by_previous: tuple[str, ...], world: World
) -> None:
    kube = world.kube
    before, old_fields = {name: running(world, name) for name in MODELS}, releases.known_fields(kube)
    assert operator_images(kube) == {releases.OPERATOR.tag_name}

    with ExitStack() as loads:
        under_load = [
            loads.enter_context(steady_load(world.address(name), name, LEAST_ANSWERS)) for name in served_by_previous
        ]
        tag = releases.NEXT_OPERATOR.tag_name.rpartition(":")[2]
        installation.install_chart(kube, f"image.tag={tag}", f"runtime.image={NEXT_RUNTIME}")
        for name in MODELS:
            wait_until_seen(world, name, 1700)
    assert [load.failures for load in under_load] == [[], []]

    assert operator_images(kube) == {releases.NEXT_OPERATOR.tag_name}
    assert releases.known_fields(kube) > old_fields
    assert {name: running(world, name) for name in MODELS} == before
    # Two versions that write in turns would be each other's rival.
    assert {condition["type"] for name in MODELS for condition in conditions(world, name)} == {
        "Ready",
        "Reconciling",
        "Stalled",
    }

    world.patch("changes", {"serving": {"maxBatchSize": 1}})
    world.wait_until_settled("changes")
    assert images(world, "changes") == {NEXT_RUNTIME}
    assert rendering(world, "changes") == (True, 1)
    assert not set(running(world, "changes")["pods"]) & set(before["changes"]["pods"])
    wait_until_seen(world, "stays", 1600)
    assert running(world, "stays") == before["stays"]
    assert rendering(world, "stays") == (False, 2)
    assert images(world, "stays") == {installation.RUNTIME_IMAGE}
