"""What happens to a serving model when pods die, children vanish, replicas change and the object is deleted."""

import httpx
import pytest

from e2e.world import WAIT_S, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]


@pytest.fixture
def tiny(world: World) -> str:
    """The tiny model, serving."""
    world.apply_model("tiny")
    world.wait_until_ready("tiny")
    return "tiny"


def test_a_killed_pod_is_replaced_and_the_model_ready_again(world: World, tiny: str) -> None:
    (before,) = world.pod_names(tiny)
    world.delete(f"pod/{before}", "--force", "--grace-period=0")
    world.wait(f"neuronmodel/{tiny}", "condition=Ready=false")
    world.wait_until_ready(tiny)
    assert before not in world.pod_names(tiny)


def test_deleted_children_come_back(world: World, tiny: str) -> None:
    for child in (f"service/{tiny}", f"poddisruptionbudget/{tiny}", f"deployment/{tiny}"):
        world.delete(child)
        world.kube.kubectl("wait", child, "-n", world.namespace, "--for=create", f"--timeout={WAIT_S}s")
    world.wait_until_ready(tiny)


def test_kubectl_scale_changes_the_number_of_pods(world: World, tiny: str) -> None:
    world.kube.kubectl("scale", f"neuronmodel/{tiny}", "-n", world.namespace, "--replicas=2")
    world.wait(f"neuronmodel/{tiny}", "jsonpath={.status.readyReplicas}=2")
    world.kube.kubectl("scale", f"neuronmodel/{tiny}", "-n", world.namespace, "--replicas=1")
    world.wait(f"neuronmodel/{tiny}", "jsonpath={.status.replicas}=1")
    # One that is still draining says that it is not ready, and the way in may lead to it.
    for pod in (pod["metadata"] for pod in world.pods(tiny)):
        if "deletionTimestamp" in pod:
            world.kube.kubectl(
                "wait", f"pod/{pod['name']}", "-n", world.namespace, "--for=delete", f"--timeout={WAIT_S}s"
            )
    with world.forward(tiny) as url:
        assert httpx.get(f"{url}/v2/health/ready", timeout=WAIT_S).status_code == httpx.codes.OK


@pytest.mark.parametrize("mode", ["background", "foreground"])
def test_deleting_the_model_leaves_nothing(world: World, tiny: str, mode: str) -> None:
    world.delete(f"neuronmodel/{tiny}", f"--cascade={mode}")
    for child in ("deployment", "service", "poddisruptionbudget"):
        world.kube.kubectl("wait", f"{child}/{tiny}", "-n", world.namespace, "--for=delete", f"--timeout={WAIT_S}s")
    labels = f"neuron-serving.dev/model={tiny}"
    world.kube.kubectl("wait", "pod", "-l", labels, "-n", world.namespace, "--for=delete", f"--timeout={WAIT_S}s")
    assert world.kube.list("controllerrevisions", namespace=world.namespace, labels=labels) == []
