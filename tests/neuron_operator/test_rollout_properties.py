"""Rollouts of several models on one small cluster, whatever comes in between: what must hold in any order of things."""

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_operator.indices import Key
from rollout_world import NAMESPACE, RolloutWorld

NAMES = ("one", "two", "three")
MODELS = st.lists(
    st.fixed_dictionaries(
        {
            "neuronCores": st.sampled_from([1, 2, 4]),
            "replicas": st.integers(1, 3),
            "rollout": st.fixed_dictionaries({"maxUnavailable": st.integers(1, 2), "acceptCoreLoss": st.booleans()}),
        }
    ),
    min_size=1,
    max_size=len(NAMES),
)
NODES = st.lists(st.sampled_from([2, 4, 6]), min_size=1, max_size=4)
PLANNED = ("edit", "reconcile", "control", "schedule", "run", "wait")
UNPLANNED = ("foreign", "foreign-gone", "fail", "heal")
Step = tuple[str, int]


def steps(*kinds: str) -> st.SearchStrategy[list[Step]]:
    return st.lists(st.tuples(st.sampled_from(kinds), st.integers(0, 11)), max_size=25)


def world_of(cores: list[int], models: list[dict[str, Any]]) -> RolloutWorld:
    world = RolloutWorld(tuple(cores))
    for name, spec in zip(NAMES, models, strict=False):
        world.add_model(name, **spec)
    world.settle()
    return world


def take(world: RolloutWorld, step: Step) -> None:
    kind, number = step
    names = list(world.models)
    name, index = names[number % len(names)], number % len(world.core_counts)
    foreign = [name for name in world.pods if name.startswith("foreign")]
    actions: dict[str, Callable[[], object]] = {
        "edit": lambda: world.edit(name),
        "reconcile": lambda: reconcile(world, name),
        "control": lambda: control(world, name),
        "schedule": lambda: world.schedule(lambda count: number % count),
        "run": world.run_pods,
        "wait": lambda: setattr(world, "now", world.now + timedelta(seconds=7 * number)),
        "foreign": lambda: world.add_foreign_pod(1 + number % 4),
        "foreign-gone": lambda: world.remove(foreign[number % len(foreign)]) if foreign else None,
        "fail": lambda: world.fail_node(index),
        "heal": lambda: world.down.discard(index),
    }
    actions[kind]()


def reconcile(world: RolloutWorld, name: str) -> None:
    world.reconcile(name)
    decision = world.plans[name].decision
    if decision is not None and decision.promise is not None:
        assert promised(world) <= world.free_cores(), "more cores are promised than are free"


def promised(world: RolloutWorld) -> int:
    """Cores of all promises whose pods have not taken them yet."""
    placed = {
        pod["metadata"]["annotations"].get("neuron-serving.dev/revision")
        for pod in world.pods.values()
        if "nodeName" in pod["spec"]
    }
    return sum(p.cores for p in world.ledger.others(Key(NAMESPACE, "nobody")) if p.revision not in placed)


def control(world: RolloutWorld, name: str) -> None:
    before = world.ready(name)
    world.control(name)
    allowed = world.replicas(name) - world.models[name]["spec"]["rollout"]["maxUnavailable"]
    assert world.ready(name) >= min(before, allowed), "more is taken down than was allowed"


def check_strategies(world: RolloutWorld) -> None:
    for strategies in world.strategies.values():
        assert strategies in (["Surge"], ["InPlace"], ["Surge", "InPlace"])


@given(NODES, MODELS, steps(*PLANNED, *UNPLANNED))
@settings(max_examples=60)
def test_whatever_happens_a_strategy_changes_once_at_most_and_every_end_has_a_reason(
    cores: list[int], models: list[dict[str, Any]], history: list[Step]
) -> None:
    world = world_of(cores, models)
    for step in history:
        take(world, step)
        check_strategies(world)
    world.settle()
    check_strategies(world)
    for name in world.models:
        waiting = [pod for pod in world.of(name) if "nodeName" not in pod["spec"]]
        assert world.is_complete(name) or world.plans[name].refusal is not None or waiting, name


@given(NODES, MODELS, steps(*PLANNED))
@settings(max_examples=60)
def test_where_nobody_interferes_rollouts_lose_no_replica(
    cores: list[int], models: list[dict[str, Any]], history: list[Step]
) -> None:
    world = world_of(cores, models)
    before = {name: world.ready(name) for name in world.models}
    for step in history:
        take(world, step)
    world.settle()
    for name in [name for name in world.models if not world.models[name]["spec"]["rollout"]["acceptCoreLoss"]]:
        assert world.ready(name) >= before[name], f"{name} had {before[name]} ready"
        assert world.is_complete(name) or before[name] < world.replicas(name) or world.plans[name].refusal is not None


@given(NODES, MODELS, steps("edit", "reconcile", "schedule"), st.permutations(NAMES))
@settings(max_examples=60)
def test_rollouts_that_are_planned_before_any_pod_is_there_share_what_is_free(
    cores: list[int], models: list[dict[str, Any]], history: list[Step], order: list[str]
) -> None:
    world = world_of(cores, models)
    for name in [name for name in order if name in world.models]:
        world.edit(name)
        reconcile(world, name)
    for step in history:
        take(world, step)
