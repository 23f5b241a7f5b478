"""NeuronCores are scarce: who waits is told how many are missing, and is served when they are there."""

from collections.abc import Iterator

import pytest

from demo import installation
from e2e.world import WAIT_S, World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

NODES, CORES_PER_NODE = ("n1", "n2"), 2


@pytest.fixture
def without_device_plugins(world: World) -> Iterator[None]:
    for node in NODES:
        installation.tool("cluster", "stop", f"{node}-device-plugin")
    for node in NODES:
        world.kube.wait(
            f"node/{node}", r"jsonpath={.status.allocatable.aws\.amazon\.com/neuroncore}=0", timeout_s=WAIT_S
        )
    yield
    _start_device_plugins(world)


def _start_device_plugins(world: World) -> None:
    for node in NODES:
        installation.tool("cluster", "start", f"{node}-device-plugin")
    for node in NODES:
        path = r"{.status.allocatable.aws\.amazon\.com/neuroncore}"
        world.kube.wait(f"node/{node}", f"jsonpath={path}={CORES_PER_NODE}", timeout_s=WAIT_S)


def test_the_second_of_two_models_waits_for_cores_and_gets_them(world: World) -> None:
    world.apply_model("first", neuronCores=CORES_PER_NODE, replicas=len(NODES))
    world.wait_until_ready("first")
    world.apply_model("second", neuronCores=CORES_PER_NODE)
    message = world.wait_for_reason("second", "InsufficientNeuronCores")
    assert "2" in message
    world.delete("neuronmodel/first")
    world.wait_until_ready("second")


@pytest.mark.usefixtures("without_device_plugins")
def test_a_missing_device_plugin_is_named_and_the_model_serves_once_it_is_back(world: World) -> None:
    world.apply_model("waiting")
    assert "device plugin" in world.wait_for_reason("waiting", "DevicePluginMissing")
    _start_device_plugins(world)
    world.wait_until_ready("waiting")


def test_one_of_several_cores_needs_the_scheduler_extension(world: World) -> None:
    world.apply_model("three", neuronCores=3)
    world.wait("neuronmodel/three", "condition=Stalled")
    assert world.condition("three", "Stalled")["reason"] == "SchedulerExtensionRequired"
