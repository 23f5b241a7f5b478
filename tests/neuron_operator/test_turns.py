"""What a turn costs where thousands of models wait for theirs; whose it is stands in test_upgrades.py."""

from collections.abc import Iterable
from typing import Any

from model_builders import model_body
from neuron_operator.indices import Indices, Key
from neuron_operator.names import ANNOTATION_UPGRADE, KIND
from neuron_operator.plan import Plan
from neuron_operator.turns import Turns
from upgrade_world import AUTOMATIC

NAMES = [f"model-{number:03}" for number in range(100)]


class CountingIndices(Indices):
    """Counts how often somebody goes through all models."""

    passes = 0

    def every(self, kind: str) -> Iterable[dict[str, Any]]:
        self.passes += kind == KIND
        return super().every(kind)


def look_at_all(turns: Turns, indices: Indices) -> list[str]:
    """Each model waits; those that could have begun."""
    may_begin = []
    for name in NAMES:
        with turns.turn_of(Key("shop", name), indices) as has_turn:
            turns.settle(Key("shop", name), Plan(upgrade="waits"), is_refused=False)
        may_begin += [name] * has_turn
    return may_begin


def write_deployment(indices: Indices, name: str, version: int, **annotations: str) -> None:
    metadata = {"name": name, "namespace": "shop", "resourceVersion": str(version), "annotations": annotations}
    indices.put("Deployment", {"kind": "Deployment", "metadata": metadata})


def test_looks_at_models_that_wait_do_not_each_go_through_all_models() -> None:
    called: list[Key] = []
    turns, indices = Turns(called.append), CountingIndices()
    for name in NAMES:
        indices.put(KIND, model_body(name, **AUTOMATIC))
    assert look_at_all(turns, indices) == []
    assert (called, indices.passes) == ([Key("shop", NAMES[0])], 2), "once at the first look, once at the last"
    write_deployment(indices, NAMES[50], 1, **{ANNOTATION_UPGRADE: "next"})
    called.clear()
    indices.passes = 0
    assert look_at_all(turns, indices) == []
    assert (called, indices.passes) == ([], 1)


def test_who_is_found_in_the_way_is_so_only_until_its_upgrade_has_ended() -> None:
    called: list[Key] = []
    turns, indices = Turns(called.append), Indices()
    for name in NAMES:
        indices.put(KIND, model_body(name, **AUTOMATIC))
    write_deployment(indices, NAMES[50], 1, **{ANNOTATION_UPGRADE: "next"})
    look_at_all(turns, indices)
    assert called == []
    write_deployment(indices, NAMES[50], 2)
    write_deployment(indices, NAMES[60], 3, **{ANNOTATION_UPGRADE: "next"})
    look_at_all(turns, indices)
    assert called == [], "another is in the way by now"
    write_deployment(indices, NAMES[60], 4)
    assert look_at_all(turns, indices) == NAMES[:1]


def test_models_whose_namespace_may_not_be_read_are_in_nobodys_way() -> None:
    called: list[Key] = []
    turns, indices = Turns(called.append, reads=lambda key: key.namespace != "closed"), Indices()
    for namespace in ("closed", "shop"):
        indices.put(KIND, model_body("sentiment", namespace=namespace, **AUTOMATIC))
    metadata = {
        "name": "sentiment",
        "namespace": "closed",
        "resourceVersion": "1",
        "annotations": {ANNOTATION_UPGRADE: "n"},
    }
    indices.put("Deployment", {"kind": "Deployment", "metadata": metadata})
    for namespace in ("closed", "shop"):
        with turns.turn_of(Key(namespace, "sentiment"), indices):
            turns.settle(Key(namespace, "sentiment"), Plan(upgrade="waits"), is_refused=False)
    assert called[-1] == Key("shop", "sentiment")
