"""What it costs when a pod or a node is gone without a word. Nobody can promise that nothing is lost then: it is
measured and printed, and the promise is that it ends.
"""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import pytest

from cluster import cgroups, targets
from cluster.components import record_path
from cluster.processes import Identity, recorded
from cluster.settings import from_environment
from demo import store
from e2e.steady_load import Load, steady_load
from e2e.summary import Summary
from e2e.world import WAIT_S, World

pytestmark = [
    pytest.mark.e2e,
    pytest.mark.timeout(1800),
    pytest.mark.skipif(targets.chosen() != "local", reason="takes nodes that are processes of this machine"),
]

MODEL, REPLICAS = "tiny", 2
LEAST_ANSWERS = 1_000


@pytest.fixture
def served(world: World) -> World:
    """Two replicas, one on each node."""
    world.apply_model(MODEL, replicas=REPLICAS)
    world.wait_until_settled(MODEL)
    assert len({pod["spec"]["nodeName"] for pod in world.pods(MODEL)}) == REPLICAS
    return world


def victim(world: World) -> tuple[str, str]:
    """The pod that is not on the store's node, and its node."""
    (store_pod,) = world.kube.list("pods", namespace=store.NAMESPACE, labels="app=s3")
    return next(
        (pod["metadata"]["name"], pod["spec"]["nodeName"])
        for pod in world.pods(MODEL)
        if pod["spec"]["nodeName"] != store_pod["spec"]["nodeName"]
    )


def processes_of(world: World, pod: str) -> frozenset[Identity]:
    statuses = world.kube.get("pod", pod, world.namespace)["status"]["containerStatuses"]
    found = cgroups.members([status["containerID"].removeprefix("containerd://") for status in statuses])
    assert found, f"no process of {pod} is found"
    return found


def send(number: signal.Signals, processes: frozenset[Identity]) -> None:
    """To each that is still there: probes and shells of the pod come and go."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process.pid, number)


@contextmanager
def loss(world: World, summary: Summary, what: str) -> Iterator[Load]:
    """Load around a loss; afterwards every request is answered again."""
    with steady_load(world.address(MODEL), MODEL, LEAST_ANSWERS) as load:
        lost_s = time.monotonic() - load.started_at
        yield load
    moments = [float(failure.split()[0]) - lost_s for failure in load.failures]
    told = f", from {min(moments):.1f} to {max(moments):.1f} s after the loss" if moments else ""
    summary.add("abrupt loss", what, f"{load}{told}")
    with steady_load(world.address(MODEL), MODEL, LEAST_ANSWERS) as after:
        pass
    assert after.failures == []


def test_of_a_pod_whose_processes_are_killed(served: World, summary: Summary) -> None:
    pod, _ = victim(served)
    with loss(served, summary, "the processes of one pod of two are killed"):
        send(signal.SIGKILL, processes_of(served, pod))
        served.wait(f"neuronmodel/{MODEL}", "condition=Ready=false")
        served.wait_until_ready(MODEL)


def test_of_a_node_that_falls_silent(served: World, summary: Summary) -> None:
    """Its kubelet and the pod on it are stopped, not ended: connections are accepted, and nobody answers."""
    pod, node = victim(served)
    kubelet = recorded(record_path(from_environment(os.environ), f"{node}-kubelet"))
    assert kubelet is not None, f"the kubelet of {node} runs"
    silent = processes_of(served, pod) | {kubelet}
    try:
        with loss(served, summary, "one node of two falls silent"):
            send(signal.SIGSTOP, silent)
            served.kube.kubectl("wait", f"node/{node}", "--for=condition=Ready=Unknown", f"--timeout={WAIT_S}s")
            served.wait(f"pod/{pod}", "condition=Ready=false")
            served.wait(f"neuronmodel/{MODEL}", "condition=Ready=false")
    finally:
        send(signal.SIGCONT, silent)
        served.kube.kubectl("wait", f"node/{node}", "--for=condition=Ready", f"--timeout={WAIT_S}s")
    served.wait_until_ready(MODEL)
