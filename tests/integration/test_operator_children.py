"""Children on a real API server: created, repaired field by field, recreated, never taken from somebody else."""

from functools import partial

import pytest

from integration.api_client import Api, Body, condition, has_reason
from integration.models import model, settled
from local_control_plane import OperatorProcess
from neuron_operator.changes import change_to
from neuron_operator.indices import trimmed
from neuron_operator.plan import Known, make_plan
from neuron_operator.settings import Settings
from operator_bench.fields import IDENTITY, at, has_leaf, leaves, mutated, with_leaf

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("operator"), pytest.mark.timeout(300)]

CHILDREN = ("deployments", "services", "poddisruptionbudgets")
KINDS = {
    "Deployment": "deployments",
    "Service": "services",
    "PodDisruptionBudget": "poddisruptionbudgets",
    "ControllerRevision": "controllerrevisions",
}


def desired_children_of(api: Api, found: Body) -> dict[str, Body]:
    """What the operator renders for the model now, by kind."""
    children = {kind: [trimmed(kind, body) for body in api.every(plural)] for kind, plural in KINDS.items()}
    assert make_plan(Known(found, children), Settings()).apply == (), "every child as it is read back has no difference"
    return {change.body["kind"]: change.body for change in make_plan(Known(found, {}), Settings()).apply}


def test_a_model_gets_its_children_and_a_status(api: Api) -> None:
    found = settled(api, model())
    owner = {"kind": "NeuronModel", "name": "sentiment", "uid": found["metadata"]["uid"], "controller": True}
    for plural in CHILDREN:
        reference = api.get(plural, "sentiment")["metadata"]["ownerReferences"][0]
        assert owner.items() <= reference.items()
    assert [r["revision"] for r in api.every("controllerrevisions")] == [1]
    assert found["status"]["url"] == f"http://sentiment.{api.namespace}.svc"
    assert condition(found, "Reconciling")["status"] == "True"
    assert "finalizers" not in found["metadata"]
    assert "annotations" not in found["metadata"]


def test_every_child_read_back_has_no_difference(api: Api) -> None:
    found = settled(api, model())
    for kind, desired in desired_children_of(api, found).items():
        live = api.get(KINDS[kind], desired["metadata"]["name"])
        assert change_to(desired, trimmed(kind, live)) is None


def replaced(api: Api, plural: str, body: Body) -> bool:
    """Whether the API server took it. The operator may write at the same moment; what is only late is sent again."""
    name = body["metadata"]["name"]
    for _ in range(100):
        body["metadata"]["resourceVersion"] = api.get(plural, name)["metadata"]["resourceVersion"]
        answer = api.replace(plural, name, body)
        if answer.status_code != 409:
            assert answer.status_code in (200, 400, 422), answer.text
            return answer.status_code == 200
    raise AssertionError(answer.text)


# The rest can't be broken: the API server refuses the change itself.
FEWEST_REPAIRED = {"Deployment": 75, "Service": 11, "PodDisruptionBudget": 9}


@pytest.mark.parametrize("kind", FEWEST_REPAIRED)
@pytest.mark.parametrize("how", ["changed", "removed"])
def test_every_rendered_field_is_repaired(api: Api, kind: str, how: str) -> None:
    found = settled(api, model(placement={"instanceTypes": ["inf2.xlarge", "inf2.8xlarge"]}))
    plural, desired = KINDS[kind], desired_children_of(api, found)[kind]
    clean = api.get(plural, "sentiment")
    del clean["metadata"]["managedFields"]
    repaired, refused = [], []
    for path in leaves(desired):
        # What an earlier round added beside ours is left alone by the operator, and would be found first here.
        assert replaced(api, plural, clean)
        live = api.wait_for(plural, "sentiment", lambda body: change_to(desired, trimmed(kind, body)) is None)
        before = at(live, path)
        value = mutated(before) if how == "changed" else None
        if path in IDENTITY or before is None or not replaced(api, plural, with_leaf(live, path, value)):
            refused.append(path)
            continue
        api.wait_for(plural, "sentiment", partial(has_leaf, path, before))
        repaired.append(path)
    assert len(repaired) >= FEWEST_REPAIRED[kind], (len(repaired), refused)


@pytest.mark.parametrize("plural", CHILDREN)
def test_a_deleted_child_comes_back(api: Api, plural: str) -> None:
    settled(api, model())
    before = api.get(plural, "sentiment")["metadata"]["uid"]
    api.delete(plural, "sentiment")
    api.wait_for(plural, "sentiment", lambda body: body["metadata"]["uid"] != before)


def test_a_child_that_lost_its_label_is_found_again(api: Api) -> None:
    settled(api, model())
    api.merge("services", "sentiment", {"metadata": {"labels": {"neuron-serving.dev/model": None}}})
    api.wait_for("services", "sentiment", lambda body: "neuron-serving.dev/model" in body["metadata"]["labels"])


def test_what_we_do_not_render_is_left_alone(api: Api) -> None:
    settled(api, model())
    api.merge("deployments", "sentiment", {"metadata": {"labels": {"team": "search"}}, "spec": {"replicas": 5}})
    repaired = api.wait_for("deployments", "sentiment", lambda body: body["spec"]["replicas"] == 2)
    assert repaired["metadata"]["labels"]["team"] == "search"


def test_a_service_of_somebody_else_is_not_touched_and_told_about(api: Api) -> None:
    service = {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "sentiment"},
        "spec": {"ports": [{"port": 9}]},
    }
    theirs = api.create("services", service)
    api.create("neuronmodels", model())
    told = api.wait_for("neuronmodels", "sentiment", has_reason("NameConflict"))
    assert condition(told, "Stalled")["status"] == "True"
    assert "A Service sentiment exists" in condition(told)["message"]
    assert api.get("services", "sentiment")["metadata"]["resourceVersion"] == theirs["metadata"]["resourceVersion"]


def test_a_change_of_the_pods_makes_a_second_revision_and_replicas_do_not(api: Api) -> None:
    settled(api, model())
    first = api.get("deployments", "sentiment")["spec"]["template"]
    api.merge("neuronmodels", "sentiment", {"spec": {"replicas": 4}})
    scaled = api.wait_for("deployments", "sentiment", lambda body: body["spec"]["replicas"] == 4)
    assert scaled["spec"]["template"] == first
    api.merge("neuronmodels", "sentiment", {"spec": {"artifact": {"uri": "https://models.example/other/"}}})
    api.wait_for("deployments", "sentiment", lambda body: body["spec"]["template"] != first)
    assert sorted(r["revision"] for r in api.every("controllerrevisions")) == [1, 2]


def test_another_release_with_another_image_leaves_running_models_alone(api: Api, operator: OperatorProcess) -> None:
    settled(api, model())
    before = api.get("deployments", "sentiment")
    operator.stop()
    operator.settings["runtime_image"] = "example.com/runtime:next"
    try:
        operator.start()
        found = settled(api, model("younger"))
        assert found["status"]["runtime"]["image"] == "example.com/runtime:next"
        assert (
            api.get("deployments", "sentiment")["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        )
    finally:
        operator.stop()
        operator.settings.clear()
        operator.start()
