"""The frozen template: the same intent finds it again, whatever the operator would render today."""

from typing import Any

import pytest

from model_builders import model
from neuron_operator.api import NeuronModel
from neuron_operator.revisions import REVISIONS_KEPT, Archive, Frozen, revision_of


def rendered(image: str = "runtime:1") -> dict[str, Any]:
    return {
        "metadata": {"annotations": {"theirs": "kept"}},
        "spec": {"containers": [{"name": "runtime", "image": image}]},
    }


def freeze(body: NeuronModel, image: str = "runtime:1", revisions: Any = (), deployment: Any = None) -> Frozen:
    return Archive(body, revisions, deployment).present(lambda: rendered(image))


def image_of(frozen: Frozen) -> Any:
    return frozen.template["spec"]["containers"][0]["image"]


def test_a_template_is_rendered_once_and_says_which_revision_it_is_of() -> None:
    frozen = freeze(model())
    assert frozen.name.startswith("sentiment-")
    assert len(frozen.name) == len("sentiment-") + 10
    assert revision_of(frozen.template) == frozen.name
    assert frozen.template["metadata"]["annotations"]["theirs"] == "kept"
    assert frozen.revision["revision"] == 1


def test_a_new_release_finds_the_old_template() -> None:
    old = freeze(model())
    assert image_of(freeze(model(), "runtime:2", [old.revision])) == "runtime:1"


@pytest.mark.parametrize("spec", [{"replicas": 9}, {"suspend": True}, {"rollout": {"progressDeadlineSeconds": 60}}])
def test_what_does_not_shape_the_pods_keeps_the_revision(spec: dict[str, Any]) -> None:
    assert freeze(model(**spec)).name == freeze(model()).name


@pytest.mark.parametrize(
    "spec", [{"neuronCores": 1}, {"artifact": {"uri": "s3://b/x"}}, {"rollout": {"drainSeconds": 1}}]
)
def test_what_shapes_the_pods_makes_a_new_revision_with_todays_template(spec: dict[str, Any]) -> None:
    old = freeze(model())
    new = freeze(model(**spec), "runtime:2", [old.revision])
    assert new.name != old.name
    assert (new.revision["revision"], image_of(new)) == (2, "runtime:2")


def test_a_lost_revision_is_made_again_from_the_deployment_that_runs_it() -> None:
    old = freeze(model())
    running = {"metadata": {}, "spec": {"template": old.template}}
    assert image_of(freeze(model(), "runtime:2", deployment=running)) == "runtime:1"
    assert image_of(freeze(model(neuronCores=1), "runtime:2", deployment=running)) == "runtime:2"


def test_going_back_finds_the_template_that_ran_then_and_old_ones_are_forgotten() -> None:
    revisions = [freeze(model(artifact={"uri": f"s3://b/{n}"})).revision | {"revision": n} for n in range(1, 13)]
    back = freeze(model(artifact={"uri": "s3://b/2"}), revisions=revisions)
    assert back.revision["revision"] == 2
    assert [revision["revision"] for revision in back.outdated] == [1, 3]
    assert len(revisions) - len(back.outdated) == REVISIONS_KEPT
