"""Deletion and rebirth with the real garbage collector: no child outlives its owner, none is recreated, pods stay."""

import pytest

from integration.api_client import Api, Body
from integration.models import model, settled

pytestmark = [pytest.mark.integration, pytest.mark.usefixtures("controlled_operator"), pytest.mark.timeout(300)]

CHILDREN = ("deployments", "services", "poddisruptionbudgets")


def with_pods(api: Api, count: int = 2) -> list[Body]:
    api.wait_for("deployments", "sentiment", lambda body: body.get("status", {}).get("replicas") == count)
    return api.every("pods")


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_children_go_with_their_owner_and_none_comes_back(controlled_api: Api, propagation: str) -> None:
    settled(controlled_api, model())
    with_pods(controlled_api)
    controlled_api.delete("neuronmodels", "sentiment", propagation)
    controlled_api.wait_until_gone("neuronmodels", "sentiment")
    for plural in CHILDREN:
        controlled_api.wait_until_gone(plural, "sentiment")
    for revision in controlled_api.every("controllerrevisions"):
        controlled_api.wait_until_gone("controllerrevisions", revision["metadata"]["name"])
    settled(controlled_api, model("later"))
    assert [body["metadata"]["name"] for plural in CHILDREN for body in controlled_api.every(plural)] == ["later"] * 3
    names = [revision["metadata"]["name"] for revision in controlled_api.every("controllerrevisions")]
    assert all(name.startswith("later-") for name in names)


def test_an_orphaned_model_that_is_created_again_takes_its_pods_back(controlled_api: Api) -> None:
    settled(controlled_api, model())
    pods = {pod["metadata"]["uid"] for pod in with_pods(controlled_api)}
    controlled_api.delete("neuronmodels", "sentiment", "Orphan")
    controlled_api.wait_until_gone("neuronmodels", "sentiment")
    uid = settled(controlled_api, model())["metadata"]["uid"]
    for plural in CHILDREN:
        owners = controlled_api.get(plural, "sentiment")["metadata"]["ownerReferences"]
        assert [owner["uid"] for owner in owners] == [uid]
    assert {pod["metadata"]["uid"] for pod in with_pods(controlled_api)} == pods


def test_a_restored_backup_with_an_owner_that_is_gone_is_adopted(controlled_api: Api) -> None:
    settled(controlled_api, model())
    pods = {pod["metadata"]["uid"] for pod in with_pods(controlled_api)}
    service = controlled_api.get("services", "sentiment")
    owner = {**service["metadata"]["ownerReferences"][0], "uid": "00000000-0000-0000-0000-000000000000"}
    service["metadata"]["ownerReferences"] = [owner]
    assert controlled_api.replace("services", "sentiment", service).status_code == 200
    controlled_api.wait_for_any(
        "services", "metadata.name=sentiment", lambda body: owners_are_alive(controlled_api, body)
    )
    assert {pod["metadata"]["uid"] for pod in with_pods(controlled_api)} == pods


def owners_are_alive(api: Api, body: Body) -> bool:
    uid = api.get("neuronmodels", "sentiment")["metadata"]["uid"]
    return [owner["uid"] for owner in body["metadata"]["ownerReferences"]] == [uid]


def test_a_foreground_deletion_and_instant_new_creation_serves_the_new_one(controlled_api: Api) -> None:
    settled(controlled_api, model())
    controlled_api.delete("neuronmodels", "sentiment", "Foreground")
    controlled_api.wait_until_gone("neuronmodels", "sentiment")
    uid = settled(controlled_api, model(neuronCores=1))["metadata"]["uid"]
    for plural in CHILDREN:
        controlled_api.wait_for(plural, "sentiment", lambda body: body["metadata"]["ownerReferences"][0]["uid"] == uid)


def test_an_orphan_whose_spec_changed_too_gets_the_new_template(controlled_api: Api) -> None:
    settled(controlled_api, model())
    controlled_api.delete("neuronmodels", "sentiment", "Orphan")
    controlled_api.wait_until_gone("neuronmodels", "sentiment")
    settled(controlled_api, model(replicas=3))
    controlled_api.wait_for("deployments", "sentiment", lambda body: body["spec"]["replicas"] == 3)
