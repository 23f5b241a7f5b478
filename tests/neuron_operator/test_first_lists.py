"""Nobody decides on half of the cluster, nor on half of a namespace; one that can't be read holds up itself alone."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_operator.first_lists import FirstLists
from neuron_operator.scope import Stream

SHOP_PODS, SHOP_MODELS, LAB_PODS, NODES = (
    Stream("Pod", "shop"), Stream("NeuronModel", "shop"), Stream("Pod", "lab"), Stream("Node")
)  # fmt: skip
STREAMS = (SHOP_PODS, SHOP_MODELS, LAB_PODS, NODES)
Step = Callable[[FirstLists], None]


def listed(*streams: Stream) -> list[Step]:
    return [lambda lists, stream=stream: lists.listed(stream) for stream in streams]  # type: ignore[misc] # bound early


def refused(stream: Stream) -> Step:
    return lambda lists: lists.refuse(stream)


@pytest.mark.parametrize(
    ("steps", "complete", "in_shop", "in_lab"),
    [
        pytest.param([], False, False, False, id="at-the-start"),
        pytest.param(listed(*STREAMS), True, True, True, id="every-list"),
        pytest.param(listed(SHOP_PODS, SHOP_MODELS, LAB_PODS), False, True, True, id="all-but-nodes"),
        pytest.param([refused(SHOP_PODS), *listed(LAB_PODS, NODES)], True, False, True, id="shop-is-refused"),
        pytest.param(
            [*listed(*STREAMS), refused(SHOP_PODS), *listed(SHOP_PODS)], True, True, True, id="lost-and-found"
        ),
        pytest.param([*listed(*STREAMS), refused(SHOP_PODS)], True, False, True, id="lost"),
        pytest.param(
            [refused(SHOP_PODS), *listed(LAB_PODS, NODES, SHOP_PODS)], False, False, True, id="found-but-for-models"
        ),
    ],
)
def test_what_is_complete(steps: list[Step], complete: bool, in_shop: bool, in_lab: bool) -> None:
    lists = FirstLists(STREAMS)
    for step in steps:
        step(lists)
    assert (lists.missing == set()) == complete
    assert (lists.are_complete_in("shop"), lists.are_complete_in("lab")) == (in_shop, in_lab)


def test_what_is_missing_is_told_by_stream() -> None:
    lists = FirstLists(STREAMS)
    for step in listed(SHOP_PODS, LAB_PODS, NODES):
        step(lists)
    assert lists.missing == {SHOP_MODELS}
    lists.refuse(SHOP_MODELS)
    assert (lists.missing, lists.refused_namespaces) == (set(), {"shop"})


def test_a_namespace_that_nothing_is_read_of_on_its_own_is_that_of_the_whole_cluster() -> None:
    lists = FirstLists([Stream("Pod"), Stream("Lease", "system")])
    assert lists.are_complete_in("shop")
    assert lists.missing


EVENTS = st.lists(st.tuples(st.sampled_from(["listed", "refused"]), st.sampled_from(STREAMS[:3])), max_size=20)


@given(EVENTS)
def test_in_any_order_a_refused_namespace_holds_up_itself_alone(events: list[tuple[str, Stream]]) -> None:
    lists = FirstLists(STREAMS)
    for what, stream in events:
        (lists.listed if what == "listed" else lists.refuse)(stream)
        assert not any(lists.are_complete_in(namespace) for namespace in lists.refused_namespaces)
        assert {missing.namespace for missing in lists.missing}.isdisjoint(lists.refused_namespaces)
