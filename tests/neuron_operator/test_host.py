"""What a pod asks of its host, summed as Kubernetes sums it, and how often a node can give that."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from model_builders import model, model_spec, placement_of, settings
from neuron_operator.api import NeuronModel
from neuron_operator.catalog import CATALOG, InstanceType, find
from neuron_operator.changes import parse_quantity
from neuron_operator.host import Host, cpu_in_words, host_request, host_room, memory_in_words, most_host_room
from neuron_operator.render import pod_template

GIB = 2**30


def asked(**spec: Any) -> tuple[float, float]:
    """Cpu in cores, memory in GiB."""
    found = host_request(model_spec(**spec))
    return float(found.cpu), float(found.memory / GIB)


def beside(*resources: dict[str, Any]) -> dict[str, Any]:
    named = [
        {"name": f"app-{place}", "image": "example.com/app:1", "resources": each}
        for place, each in enumerate(resources)
    ]
    return {"pod": {"containers": named}}


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({}, (0.25, 0.5), id="default"),
        pytest.param({"resources": {}}, (0, 0), id="nothing"),
        pytest.param({"resources": {"requests": {"cpu": 2, "memory": "4Gi"}}}, (2, 4), id="requests"),
        pytest.param({"resources": {"limits": {"cpu": "1500m", "memory": "1Gi"}}}, (1.5, 1), id="limits-only"),
        pytest.param({"resources": {"requests": {"cpu": 1}, "limits": {"cpu": 4, "memory": "2Gi"}}}, (1, 2), id="both"),
        pytest.param(beside({"requests": {"cpu": 1}}, {"limits": {"memory": "1Gi"}}), (1.25, 1.5), id="beside"),
        pytest.param(
            {"pod": {"containers": [{"name": "app", "image": "example.com/app:1"}]}}, (0.25, 0.5), id="beside-no-wish"
        ),
    ],
)
def test_a_pod_asks_for_what_its_containers_ask_together(spec: dict[str, Any], expected: tuple[float, float]) -> None:
    assert asked(**spec) == expected


quantities = st.dictionaries(
    st.sampled_from(["cpu", "memory"]), st.sampled_from(["0", "1m", "250m", "3", "1.5", "64Mi", "1G", "4Gi"])
)
resources = st.fixed_dictionaries({}, optional={"requests": quantities, "limits": quantities})


def of_pod(template: dict[str, Any], resource: str) -> Fraction:
    """By the rule of the scheduler: containers together, or the largest init container where that is more."""

    def one(container: dict[str, Any]) -> Fraction:
        wanted = container.get("resources", {})
        limit = wanted.get("limits", {}).get(resource, 0)
        return Fraction(parse_quantity(wanted.get("requests", {}).get(resource, limit)))

    spec = template["spec"]
    return max(sum(map(one, spec["containers"]), Fraction()), *map(one, spec["initContainers"]))


@hypothesis_settings(max_examples=60)
@given(own=resources, others=st.lists(resources, max_size=3))
def test_it_is_what_the_scheduler_sums_up_over_the_rendered_pod(own: Any, others: list[Any]) -> None:
    found: NeuronModel = model(neuronCores=1, resources=own, **beside(*others))
    template = pod_template(found, placement_of(model()), settings())
    request = host_request(found.spec)
    assert (request.cpu, request.memory) == (of_pod(template, "cpu"), of_pod(template, "memory"))


@pytest.mark.parametrize("instance", CATALOG, ids=lambda instance: instance.name)
def test_a_node_leaves_most_of_the_machine_to_its_pods_and_never_all(instance: InstanceType) -> None:
    room = host_room(instance)
    assert instance.vcpus - 1 < room.cpu < instance.vcpus
    assert 0.8 * instance.memory_gib < room.memory / GIB < instance.memory_gib


@pytest.mark.parametrize("instance", CATALOG, ids=lambda instance: instance.name)
def test_the_most_that_a_node_leaves_is_more_than_it_surely_leaves_and_less_than_the_machine(
    instance: InstanceType,
) -> None:
    most = most_host_room(instance)
    assert most.cpu == host_room(instance).cpu
    assert host_room(instance).memory < most.memory < instance.memory_gib * GIB


def test_the_room_of_a_type_is_what_its_row_says() -> None:
    instance = find("inf2.xlarge")
    assert instance is not None
    assert host_room(instance) == Host(Fraction(3920, 1000), Fraction(14162 * 2**20))


amounts = st.fractions(0, 1000)


@given(cpu=amounts, memory=amounts, room_cpu=amounts, room_memory=amounts)
def test_as_many_fit_as_fit_together_and_one_more_does_not(
    cpu: Fraction, memory: Fraction, room_cpu: Fraction, room_memory: Fraction
) -> None:
    one, room = Host(cpu, memory), Host(room_cpu, room_memory)
    count = one.times_in(room)
    if count is None:
        assert not cpu
        assert not memory
        return
    assert Host(cpu * count, memory * count).fits_into(room)
    assert not Host(cpu * (count + 1), memory * (count + 1)).fits_into(room)
    assert (count > 0) == one.fits_into(room)


def test_words_never_make_too_much_look_like_enough() -> None:
    there = Fraction(14162 * 2**20)
    assert memory_in_words(there, is_asked=False) == "13.8 GiB of memory"
    assert memory_in_words(there + 1, is_asked=True) == "13.9 GiB of memory"
    assert cpu_in_words(Fraction(3920, 1000)) == "3.92 cpu"


def test_a_request_beyond_all_measure_is_still_only_too_much() -> None:
    huge = "9" * 31 + "E"
    request = host_request(model_spec(resources={"requests": {"memory": huge, "cpu": huge}}))
    assert not any(request.fits_into(host_room(instance)) for instance in CATALOG)
    assert cpu_in_words(request.cpu)
    assert memory_in_words(request.memory, is_asked=True)
