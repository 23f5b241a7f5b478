"""Counting NeuronCores: cores and whole devices are the same silicon."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from neuron_operator.capacity import Requests, free_cores, requests_of
from neuron_operator.observe import observe_node
from observed import node

CORE, DEVICE = "aws.amazon.com/neuroncore", "aws.amazon.com/neuron"
COUNTS = st.integers(0, 30)


def asking(**amounts: int) -> dict[str, object]:
    names = {"cores": CORE, "devices": DEVICE}
    return {"resources": {"requests": {names[key]: str(value) for key, value in amounts.items()}}}


def test_requests_of_all_containers_add_up_and_init_containers_count_by_their_largest() -> None:
    staying = {**asking(cores=1), "restartPolicy": "Always"}
    pods: list[dict[str, Any]] = [
        {"spec": {"containers": [asking(cores=2), asking()], "initContainers": [asking(cores=1)]}},
        {"spec": {"containers": [asking(devices=1)], "initContainers": [asking(cores=4), staying]}},
        {"spec": {"containers": [{}]}},
    ]
    assert requests_of(pods) == Requests(cores=2 + 4, devices=1)


@given(COUNTS, COUNTS, COUNTS)
def test_free_cores_are_never_negative_and_a_device_takes_its_cores(cores: int, used: int, devices: int) -> None:
    observed = observe_node(node(cores=cores))
    free = free_cores(observed, Requests(used, devices))
    assert free == max(0, cores - used - 2 * devices)
