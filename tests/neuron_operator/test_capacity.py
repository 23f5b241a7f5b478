"""Counting NeuronCores: cores and whole devices are the same silicon."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_builders import model, placement_of
from neuron_operator.capacity import (
    Capacity,
    Requests,
    Shortage,
    explain_unschedulable,
    free_cores,
    free_runs,
    has_stale_map,
    requests_of,
)
from neuron_operator.observe import ObservedNode, observe_node
from observed import node

CORE, DEVICE = "aws.amazon.com/neuroncore", "aws.amazon.com/neuron"
COUNTS = st.integers(0, 30)
ASKED = Requests(cores=4)


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


# Of twelve cores; pods ask for four.
FREE, USED = "false", "true"
STALE = ",".join([USED] * 6 + [FREE] * 3 + [USED] * 3)
TAINTS = {"taints": [{"key": "team", "value": "search", "effect": "NoSchedule"}]}


def big_node(usage: str, name: str = "n1", **over: Any) -> ObservedNode:
    body = node(name, "inf2.24xlarge", 12, **over)
    body["metadata"]["annotations"] = {"NEURON_CORE_USAGE_MAP": usage} if usage else {}
    return observe_node(body)


def shortage(cores: int, *nodes: ObservedNode, asked: Requests = ASKED, scheduler: str = "my-scheduler") -> Shortage:
    spec = {"instanceTypes": ["inf2.24xlarge"], **({"schedulerName": scheduler} if scheduler else {})}
    capacity = Capacity(nodes, {found.name: asked for found in nodes})
    return explain_unschedulable(placement_of(model(neuronCores=cores, placement=spec)), capacity, 1, "0/1 nodes")


@pytest.mark.parametrize(
    ("cores", "found", "reason"),
    [
        pytest.param(4, big_node(STALE), "StaleUsageMap", id="four-of-the-eight-free-cores"),
        pytest.param(3, big_node(STALE), "Unschedulable", id="a-run-of-three-is-left"),
        pytest.param(9, big_node(STALE), "InsufficientNeuronCores", id="more-than-is-free"),
        pytest.param(4, big_node(""), "Unschedulable", id="no-map"),
        pytest.param(4, big_node("?"), "Unschedulable", id="no-map-of-ours"),
        pytest.param(4, big_node(",".join([USED] * 4 + [FREE] * 8)), "Unschedulable", id="the-map-is-right"),
        pytest.param(
            6, big_node(",".join([FREE] * 4 + [USED] * 4 + [FREE] * 4)), "Unschedulable", id="right-but-fragmented"
        ),
        pytest.param(4, big_node(STALE, spec=TAINTS), "Unschedulable", id="it-may-not-run-there"),
    ],
)
def test_a_map_that_holds_cores_for_nobody_is_named_when_it_keeps_a_pod_waiting(
    cores: int, found: ObservedNode, reason: str
) -> None:
    assert shortage(cores, found).reason == reason


def test_whole_devices_are_cores_that_a_pod_asks_for_too() -> None:
    assert shortage(4, big_node(STALE), asked=Requests(cores=1, devices=4)).reason == "InsufficientNeuronCores"
    assert shortage(3, big_node(",".join([USED] * 9 + [FREE] * 3)), asked=Requests(1, 4)).reason == "Unschedulable"


def test_who_does_not_ask_the_extension_is_not_kept_waiting_by_its_map() -> None:
    assert shortage(1, big_node(",".join([USED] * 12)), scheduler="").reason == "Unschedulable"
    assert shortage(1, big_node(",".join([USED] * 12))).reason == "StaleUsageMap"


def test_a_stale_map_is_told_with_the_nodes_and_the_way_out() -> None:
    found = shortage(4, *(big_node(STALE, name) for name in ("n4", "n3", "n2", "n1")))
    assert found.message == (
        "1 pod without a node: 4 NeuronCores are free on n1, n2, n3 and others, but NEURON_CORE_USAGE_MAP there holds "
        "cores that no pod asks for."
    )
    assert "kubectl annotate node n1 NEURON_CORE_USAGE_MAP- NEURON_DEV_USAGE_MAP-." in found.hint


@given(st.lists(st.booleans(), min_size=12, max_size=12), st.integers(0, 12))
def test_a_map_is_stale_exactly_when_it_holds_more_than_is_asked_for(used: list[bool], asked: int) -> None:
    found = big_node(",".join(str(core).lower() for core in used))
    assert has_stale_map(found, Requests(asked)) == (sum(used) > asked)
    assert sum(free_runs(found)) == 12 - sum(used)
