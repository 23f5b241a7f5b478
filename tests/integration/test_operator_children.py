"""Children on a real API server: created, repaired field by field, recreated, never taken from somebody else."""

import copy
from collections.abc import Callable
from functools import partial

import pytest

from crd_cases import EVERYTHING
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


SPECS = [pytest.param({}, id="smallest"), pytest.param(EVERYTHING, id="everything")]


@pytest.mark.parametrize("spec", SPECS)
def test_every_child_read_back_has_no_difference(api: Api, spec: Body) -> None:
    found = settled(api, model(**spec))
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


TWO_TYPES: Body = {"placement": {"instanceTypes": ["inf2.xlarge", "inf2.8xlarge"]}}
# The rest can't be broken: the API server refuses the change itself.
BREAKABLE = [
    pytest.param("Deployment", TWO_TYPES, 75, id="deployment"),
    pytest.param("Deployment", EVERYTHING, 140, id="deployment-with-everything"),
    pytest.param("Service", TWO_TYPES, 11, id="service"),
    pytest.param("PodDisruptionBudget", TWO_TYPES, 9, id="disruption-budget"),
    pytest.param("ControllerRevision", TWO_TYPES, 7, id="revision"),
]
# The number of a revision says only which is newer: it is taken as it is found.
AS_FOUND = {("revision",)}


@pytest.mark.parametrize(("kind", "spec", "fewest"), BREAKABLE)
@pytest.mark.parametrize("how", ["changed", "removed"])
def test_every_rendered_field_is_repaired(api: Api, kind: str, spec: Body, fewest: int, how: str) -> None:
    found = settled(api, model(**spec))
    plural, desired = KINDS[kind], desired_children_of(api, found)[kind]
    name = desired["metadata"]["name"]
    clean = api.get(plural, name)
    del clean["metadata"]["managedFields"]
    repaired, refused = [], []
    for path in leaves(desired):
        # What an earlier round added beside ours is left alone by the operator, and would be found first here.
        assert replaced(api, plural, clean)
        live = api.wait_for(plural, name, lambda body: change_to(desired, trimmed(kind, body)) is None)
        before = at(live, path)
        value = mutated(before) if how == "changed" else None
        if path in IDENTITY | AS_FOUND or before is None or not replaced(api, plural, with_leaf(live, path, value)):
            refused.append(path)
            continue
        api.wait_for(plural, name, partial(has_leaf, path, before))
        repaired.append(path)
    assert len(repaired) >= fewest, (len(repaired), refused)


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


def runtime_of(body: Body) -> Body:
    containers = body["spec"]["template"]["spec"]["containers"]
    return dict(next(container for container in containers if container["name"] == "runtime"))


def select_more(body: Body) -> None:
    body["spec"]["selector"]["app"] = "another"


def match_more(body: Body) -> None:
    body["spec"]["selector"]["matchLabels"]["app"] = "another"


def take_an_empty_value(body: Body) -> None:
    del body["spec"]["template"]["spec"]["nodeSelector"]["empty"]


def ask_for_more_of_the_node(body: Body) -> None:
    body["spec"]["template"]["spec"]["nodeSelector"]["rack"] = "7"


def say_it_the_other_way(body: Body) -> None:
    del body["spec"]["maxUnavailable"]
    body["spec"]["minAvailable"] = 1


def probe_in_another_way(body: Body) -> None:
    probe = runtime_of(body)["readinessProbe"]
    del probe["httpGet"]
    probe["exec"] = {"command": ["true"]}


def take_the_value_from_elsewhere(body: Body) -> None:
    variable = next(variable for variable in runtime_of(body)["env"] if "value" in variable)
    del variable["value"]
    variable["valueFrom"] = {"fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.name"}}


def mount_the_host(body: Body) -> None:
    volume = next(volume for volume in body["spec"]["template"]["spec"]["volumes"] if "emptyDir" in volume)
    del volume["emptyDir"]
    volume["hostPath"] = {"path": "/tmp", "type": ""}


@pytest.mark.parametrize(
    ("plural", "edit"),
    [
        ("services", select_more),
        ("poddisruptionbudgets", match_more),
        ("poddisruptionbudgets", say_it_the_other_way),
        ("deployments", take_an_empty_value),
        ("deployments", ask_for_more_of_the_node),
        ("deployments", probe_in_another_way),
        ("deployments", take_the_value_from_elsewhere),
        ("deployments", mount_the_host),
    ],
)
def test_an_edit_that_a_plain_apply_leaves_standing_or_fails_at_is_repaired(
    api: Api, plural: str, edit: Callable[[Body], None]
) -> None:
    settled(api, model(placement={"nodeSelector": {"zone": "a", "empty": ""}}))
    before = api.get(plural, "sentiment")
    edited = copy.deepcopy(before)
    edit(edited)
    assert replaced(api, plural, edited)
    api.wait_for(plural, "sentiment", lambda body: body["spec"] == before["spec"])
    assert condition(api.get("neuronmodels", "sentiment"))["reason"] == "Progressing"


def with_foreign_parts(body: Body) -> Body:
    """What others add to any object, and to the lists of those that have some."""
    metadata = body["metadata"]
    metadata["labels"]["team"] = "search"
    metadata.setdefault("annotations", {})["example.com/note"] = "theirs"
    if body["kind"] == "Service":
        body["spec"]["ports"].append({"name": "metrics", "port": 9100, "protocol": "TCP", "targetPort": 9100})
    if body["kind"] == "Deployment":
        body["spec"]["template"]["spec"]["containers"].append({"name": "mesh", "image": "example.com/mesh:1"})
    return body


def foreign_parts(body: Body) -> list[str]:
    metadata, spec = body["metadata"], body.get("spec", {})
    listed = [*spec.get("ports", ()), *spec.get("template", {}).get("spec", {}).get("containers", ())]
    names = [item["name"] for item in listed if item["name"] in ("metrics", "mesh")]
    return [metadata["labels"].get("team"), metadata.get("annotations", {}).get("example.com/note"), *names]


@pytest.mark.parametrize(
    ("plural", "path", "added"),
    [
        pytest.param("deployments", ("spec", "replicas"), ["mesh"], id="deployment"),
        pytest.param("services", ("spec", "ports", 0, "targetPort"), ["metrics"], id="service"),
        pytest.param("poddisruptionbudgets", ("spec", "maxUnavailable"), [], id="disruption-budget"),
        pytest.param("controllerrevisions", ("metadata", "labels", "app.kubernetes.io/name"), [], id="revision"),
    ],
)
def test_what_we_do_not_render_is_left_alone(
    api: Api, plural: str, path: tuple[str | int, ...], added: list[str]
) -> None:
    settled(api, model())
    (ours,) = api.every(plural)
    value = at(ours, path)
    assert replaced(api, plural, with_leaf(with_foreign_parts(ours), path, mutated(value)))
    repaired = api.wait_for(plural, ours["metadata"]["name"], partial(has_leaf, path, value))
    assert foreign_parts(repaired) == ["search", "theirs", *added]


def test_of_what_is_not_wanted_any_more_only_our_own_is_deleted(api: Api) -> None:
    """Ours is what carries the label and has the model for its controller, not one of the two."""
    found = settled(api, model())
    label = {"neuron-serving.dev/model": "sentiment"}
    owner = api.get("services", "sentiment")["metadata"]["ownerReferences"][0]

    def stray(name: str, labels: Body, owners: list[Body]) -> Body:
        metadata = {"name": name, "labels": labels, "ownerReferences": owners}
        return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": 9}]}}

    theirs = [
        api.create("services", stray("labelled", label, [])),
        api.create("services", stray("owned", {}, [owner])),
        api.create("services", stray("owned-by-an-earlier-one", label, [{**owner, "uid": "gone"}])),
    ]
    api.create("services", stray("ours", label, [owner]))
    api.wait_until_gone("services", "ours")
    api.merge("neuronmodels", "sentiment", {"spec": {"replicas": 3}})
    api.wait_for("deployments", "sentiment", lambda body: body["spec"]["replicas"] == 3)
    assert found["metadata"]["uid"] == owner["uid"]
    for body in theirs:
        assert api.get("services", body["metadata"]["name"]) == body


@pytest.mark.parametrize("plural", CHILDREN)
def test_a_restored_backup_whose_owner_is_gone_is_adopted_as_it_is(api: Api, plural: str) -> None:
    """There is no garbage collector here, which might be faster and have a new one made."""
    uid = settled(api, model())["metadata"]["uid"]
    before = api.get(plural, "sentiment")
    gone = {**before["metadata"]["ownerReferences"][0], "uid": "00000000-0000-0000-0000-000000000000"}
    before["metadata"]["ownerReferences"] = [gone]
    assert replaced(api, plural, before)
    adopted = api.wait_for(
        plural, "sentiment", lambda body: [o["uid"] for o in body["metadata"]["ownerReferences"]] == [uid]
    )
    assert adopted["metadata"]["uid"] == before["metadata"]["uid"]
    assert adopted["spec"] == before["spec"]


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
