"""What `plan-rollout` says beforehand: the decision, its nodes, the steps, and whether it can finish."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from model_builders import model_body
from neuron_operator.__main__ import main
from neuron_operator.indices import Key
from neuron_operator.observe import observe_pods
from neuron_operator.plan import Known
from neuron_operator.rehearsal import rehearse
from rollout_world import SETTINGS, RolloutWorld

Captured = pytest.CaptureFixture[str]


def serving(*cores: int, **spec: Any) -> RolloutWorld:
    """A model of two cores that runs on the first node, and an edit of it that nobody has looked at yet."""
    world = RolloutWorld(cores)
    world.add_model("one", **spec)
    world.settle()
    world.edit("one")
    return world


def told(world: RolloutWorld) -> tuple[str, bool]:
    key = Key("shop", "one")
    children = {kind: tuple(bodies.values()) for kind, bodies in world.children["one"].items()}
    pods = [pod for name, pod in world.pods.items() if name.startswith("one")]
    return rehearse(Known(world.models["one"], children, observe_pods(pods)), SETTINGS, world.outlook(key))


def test_a_surge_is_told_with_its_nodes_and_steps() -> None:
    text, can_finish = told(serving(2, 4))
    assert can_finish
    assert text.splitlines() == [
        "NeuronModel shop/one: is replaced by surge",
        "  why: 2 NeuronCores are free on n1, so a new replica fits beside the old ones",
        "  nodes:",
        "    n0  inf2.48xlarge  0 of 2 cores free",
        "    n1  inf2.48xlarge  4 of 4 cores free",
        "  what happens:",
        "    1. A new replica starts on 2 free NeuronCores.",
        "    2. Once it is ready, an old one goes on answering for 15 seconds and ends: 1 of 1 always answer.",
        "    3. The same again until every replica is of the new version.",
    ]


def test_one_replica_in_place_is_told_to_mean_downtime() -> None:
    text, can_finish = told(serving(2))
    assert can_finish
    assert "is replaced in place" in text
    assert "the one replica is replaced in place, so nothing answers until the new version is ready" in text
    assert "1 of 1 replicas, which goes on answering for 15 seconds and ends; 0 answer after that" in text


def test_a_hold_and_a_wait_for_a_node_cannot_finish() -> None:
    world = serving(2)
    world.add_foreign_pod(2)
    world.schedule()
    text, can_finish = told(world)
    assert not can_finish
    assert "is held: RolloutWouldLoseCores" in text
    assert "what happens" not in text
    larger = serving(2)
    larger.models["one"]["spec"]["neuronCores"] = 4
    text, can_finish = told(larger)
    assert not can_finish
    assert "waits for a node" in text


@pytest.mark.parametrize(
    ("change", "words", "expected"),
    [
        pytest.param({"rollout": {"mode": "Surge"}}, "by surge, as spec.rollout.mode Surge asks", True, id="mode"),
        pytest.param(
            {"placement": {"instanceTypes": ["inf2.6xlarge"]}}, "can't be rolled out: NoMatch", False, id="no-such-type"
        ),
    ],
)
def test_what_the_user_wrote_is_told_about(change: dict[str, Any], words: str, expected: bool) -> None:
    world = serving(2, 2)
    world.models["one"]["spec"] |= change
    text, can_finish = told(world)
    assert words in text
    assert can_finish is expected


def test_where_nothing_is_replaced_nothing_happens() -> None:
    world = RolloutWorld((2,))
    world.add_model("one")
    assert "nothing is replaced" in told(world)[0]
    world.settle()
    text, can_finish = told(world)
    assert can_finish
    assert "nothing is replaced" in text


def test_a_cluster_that_cannot_be_reached_is_told_in_one_line(
    tmp_path: Path, capsys: Captured, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = tmp_path / "model.yaml"
    target.write_text(yaml.safe_dump(model_body()))
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "nowhere"))
    assert main(["plan-rollout", "-f", str(target)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("the cluster can't be read: ")
    assert len(said.err.splitlines()) == 1
