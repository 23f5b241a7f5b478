"""No request is lost, whatever happens to the pods that serve it: each story under steady load, no failed request."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from cluster import targets
from demo import installation, store
from e2e.steady_load import steady_load
from e2e.summary import Summary
from e2e.world import WAIT_S, World, stored
from images.rollout import OPERATOR_SELECTOR

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(targets.chosen() != "local", reason="takes a machine from which cluster IPs can be reached"),
]

MODEL, REPLICAS = "tiny", 2
ROLLOUT = {"drainSeconds": 5}
Loading = Callable[[], AbstractContextManager[None]]
# Six stories: more than ten thousand together.
LEAST_ANSWERS = 2_100
KILL_THE_WORKER = r"""
import os, pathlib, signal
def is_worker(folder):
    return "neuron_runtime.worker" in folder.joinpath("cmdline").read_text().split("\0")
(worker,) = [int(folder.name) for folder in pathlib.Path("/proc").glob("[0-9]*") if is_worker(folder)]
os.kill(worker, signal.SIGKILL)
"""


@pytest.fixture(scope="module")
def served(shared_world: World) -> World:
    """The tiny model is applied, once for all stories."""
    shared_world.apply_model(MODEL, replicas=REPLICAS, rollout=ROLLOUT)
    return shared_world


@pytest.fixture
def world(served: World) -> World:
    """Every replica serves, whatever the story before did."""
    served.wait_until_settled(MODEL)
    assert len(served.pods(MODEL)) == REPLICAS
    return served


@pytest.fixture
def load(world: World, summary: Summary, request: pytest.FixtureRequest) -> Loading:
    """Steady load around a block, every request of which must be answered."""

    @contextmanager
    def loading() -> Iterator[None]:
        with steady_load(world.address(MODEL), MODEL, LEAST_ANSWERS) as load:
            yield
        summary.add("zero loss", request.node.name, str(load))
        assert load.failures == []

    return loading


def test_while_an_artifact_is_replaced_and_the_operator_killed_meanwhile(world: World, load: Loading) -> None:
    before = world.pod_names(MODEL)
    with load():
        world.apply_model(MODEL, replicas=REPLICAS, rollout=ROLLOUT, artifact=stored("tiny-again"))
        kill_operator(world)
        world.wait_until_settled(MODEL)
    assert not before & world.pod_names(MODEL)


def test_while_the_model_is_scaled_down_and_up(world: World, load: Loading) -> None:
    with load():
        for replicas in (1, REPLICAS):
            world.kube.kubectl("scale", f"neuronmodel/{MODEL}", "-n", world.namespace, f"--replicas={replicas}")
            world.wait_until_settled(MODEL)
            assert len(world.pods(MODEL)) == replicas


def test_while_the_operator_is_killed(world: World, load: Loading) -> None:
    before = world.pod_names(MODEL)
    with load():
        kill_operator(world)
        world.wait_until_settled(MODEL)
    assert world.pod_names(MODEL) == before


def test_while_the_only_worker_of_a_pod_is_killed(world: World, load: Loading) -> None:
    """What it was computing is computed again by the one that takes its place, and what comes meanwhile waits."""
    pod = min(world.pod_names(MODEL))
    with load():
        where = ("-n", world.namespace, "-c", "runtime")
        world.kube.kubectl("exec", pod, *where, "--", "python3", "-c", KILL_THE_WORKER)
        world.wait_until_settled(MODEL)
    (state,) = world.kube.get("pod", pod, world.namespace)["status"]["containerStatuses"]
    assert state["restartCount"] == 0


def test_while_a_pod_is_deleted(world: World, load: Loading) -> None:
    victim = min(world.pod_names(MODEL))
    with load():
        world.delete(f"pod/{victim}")
        world.wait_until_settled(MODEL)
    assert victim not in world.pod_names(MODEL)


def test_while_a_node_is_drained(world: World, load: Loading) -> None:
    kube = world.kube
    # The other node's pods may lose what they keep in memory, and the store keeps the bundles there.
    (store_pod,) = kube.list("pods", namespace=store.NAMESPACE, labels="app=s3")
    node = next(
        pod["spec"]["nodeName"] for pod in world.pods(MODEL) if pod["spec"]["nodeName"] != store_pod["spec"]["nodeName"]
    )
    try:
        with load():
            kube.kubectl("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", f"--timeout={WAIT_S}s")
            world.wait_until_settled(MODEL)
        assert {pod["spec"]["nodeName"] for pod in world.pods(MODEL)} == {store_pod["spec"]["nodeName"]}
    finally:
        kube.kubectl("uncordon", node)
        wait_for_operator(world)


def kill_operator(world: World) -> None:
    """Without a moment to say goodbye; it is back, and looks at all models, when this returns."""
    selector = ("-l", OPERATOR_SELECTOR, "-n", installation.NAMESPACE)
    world.kube.kubectl("delete", "pod", *selector, "--force", "--grace-period=0")
    wait_for_operator(world)


def wait_for_operator(world: World) -> None:
    (name,) = world.kube.kubectl(
        "get", "deployment", "-l", OPERATOR_SELECTOR, "-n", installation.NAMESPACE, "-o", "name"
    ).split()
    world.kube.kubectl("rollout", "status", name, "-n", installation.NAMESPACE, f"--timeout={WAIT_S}s")
