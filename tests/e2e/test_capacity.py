"""NeuronCores are scarce: who waits is told how many are missing, and is served when they are there."""

import pytest

from cluster.settings import NODES
from e2e.world import World

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

CORES_PER_NODE = 2


def test_the_second_of_two_models_waits_for_cores_and_gets_them(world: World) -> None:
    world.apply_model("first", neuronCores=CORES_PER_NODE, replicas=len(NODES))
    world.wait_until_ready("first")
    world.apply_model("second", neuronCores=CORES_PER_NODE)
    message = world.wait_for_reason("second", "InsufficientNeuronCores")
    assert "2" in message
    world.delete("neuronmodel/first")
    world.wait_until_ready("second")
