"""Whatever a NeuronModel holds: it is told on the object by its field, nothing else is written, nothing tried again."""

import asyncio
import json
from typing import Any

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from crd_limits import BASE, Node
from crd_strategies import Json, specs, values, wrong_specs
from model_builders import UID, model_body
from neuron_operator.api import NeuronModel
from neuron_operator.api.conditions import Reason
from neuron_operator.api.schema import custom_resource_definition
from neuron_operator.cluster import Ref
from neuron_operator.errors import InvalidSpecError
from neuron_operator.reasons import LONGEST_MESSAGE
from reconciling import KEY, World

SLOWER = hypothesis_settings(max_examples=40)
TELLING = {"write_status", "post_event"}
STATUS = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
STATUS_VALIDATOR = Draft202012Validator(STATUS)


def objection(body: Node) -> InvalidSpecError | None:
    try:
        NeuronModel.parse(body)
    except InvalidSpecError as error:
        return error
    return None


def looked_at(*specs_in_turn: Any) -> World:
    """The world after each of the specs was written and looked at until nothing is left to do."""
    world = World()
    for generation, spec in enumerate(specs_in_turn, start=1):
        body = model_body()
        known = world.cluster.objects.get(Ref("NeuronModel", *KEY), body)
        world.write({**known, "metadata": {**body["metadata"], "generation": generation}, "spec": spec})
        asyncio.run(world.settle())
    return world


def check(world: World, generation: int) -> Node:
    """What holds of any status; the condition Ready."""
    status = world.model()["status"]
    assert [error.message for error in STATUS_VALIDATOR.iter_errors(status)] == []
    conditions = {condition["type"]: condition for condition in status["conditions"]}
    assert {"Ready", "Reconciling", "Stalled"} <= set(conditions)
    for condition in conditions.values():
        assert condition["reason"] in set(Reason)
        assert condition["observedGeneration"] == generation
        assert 0 < len(condition["message"]) <= LONGEST_MESSAGE
    return dict(conditions["Ready"])


def check_refusal(world: World, body: Node, generation: int) -> None:
    """Its first problem is told, Stalled holds, and until the next edit there is nothing to look at again."""
    refused, ready = objection(body), check(world, generation)
    if refused is None:
        assert ready["reason"] != Reason.INVALID_SPEC
        return
    assert (ready["status"], ready["reason"]) == ("False", Reason.INVALID_SPEC)
    assert refused.problems[0].path.startswith(("spec", "metadata"))
    assert ready["message"].startswith(str(refused)[:200].rstrip())
    assert world.look_again_s is None
    assert {what for what, _ in world.calls} <= TELLING


@SLOWER
@given(Json | wrong_specs() | specs())
def test_any_spec_is_served_or_told_to_be_wrong_and_then_left_alone(spec: Any) -> None:
    world = looked_at(spec)
    check_refusal(world, {**model_body(), "spec": spec}, generation=1)
    assert world.looks <= 2


@SLOWER
@given(Json | wrong_specs())
def test_any_edit_of_a_model_that_served_leaves_its_children_as_they_are_if_it_is_wrong(spec: Any) -> None:
    world = looked_at(BASE)
    before = json.dumps([body for ref, body in world.cluster.objects.items() if ref.kind != "NeuronModel"])
    world.calls.clear()
    body = {**world.model(), "metadata": {**world.model()["metadata"], "generation": 2}, "spec": spec}
    world.write(body)
    asyncio.run(world.settle())
    check_refusal(world, body, generation=2)
    if objection(body):
        assert json.dumps([body for ref, body in world.cluster.objects.items() if ref.kind != "NeuronModel"]) == before


@SLOWER
@given(st.lists(Json | specs(), min_size=2, max_size=4))
def test_a_right_spec_after_any_wrong_ones_is_served_as_if_they_had_not_been(specs_in_turn: list[Any]) -> None:
    world = looked_at(*specs_in_turn, BASE)
    assert check(world, generation=len(specs_in_turn) + 1)["reason"] == Reason.PROGRESSING
    deployment = world.cluster.objects[Ref("Deployment", *KEY)]
    fresh = looked_at(BASE).cluster.objects[Ref("Deployment", *KEY)]
    assert deployment["spec"]["template"]["spec"] == fresh["spec"]["template"]["spec"]
    assert deployment["metadata"]["ownerReferences"][0]["uid"] == UID


@SLOWER
@given(values(STATUS, ()))
def test_any_status_that_somebody_wrote_is_replaced(status: Node) -> None:
    world = World()
    world.write({**model_body(), "status": status})
    asyncio.run(world.settle())
    assert check(world, generation=1)["reason"] == Reason.PROGRESSING
