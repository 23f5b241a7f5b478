"""Automatic upgrades and rollbacks on a real API server; Deployments are completed by hand, as no kubelet is there."""

from collections.abc import Callable, Iterator

import pytest

from integration.api_client import Api, Body, condition, has_reason
from integration.models import model, settled
from integration.test_operator_settled import wait_for_reconciles, writes_in
from local_control_plane import ControlPlane, OperatorProcess

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

FIRST, SECOND = "https://models.example/1/", "https://models.example/2/"
AUTOMATIC: Body = {"replicas": 1, "runtime": {"upgradePolicy": "Automatic"}}
ROLLING_BACK: Body = {"replicas": 1, "rollout": {"autoRollback": True}}
COMPLETE, UPGRADE = "neuron-serving.dev/complete-revision", "neuron-serving.dev/upgrade"
WAITING = "neuron_serving_operator_upgrades_waiting"
NAMES = ("first", "second", "third")


@pytest.fixture
def releases(operator: OperatorProcess, api: Api) -> Iterator[OperatorProcess]:
    """The operator, whose default image may change with a restart; as it was afterwards, and with no model left that
    would take its turn in other tests."""
    yield operator
    for body in api.every("neuronmodels"):
        api.delete("neuronmodels", body["metadata"]["name"])
    operator.settings.pop("runtime_image", None)
    operator.stop()
    operator.start()


def release(operator: OperatorProcess, image: str) -> None:
    operator.stop()
    operator.settings["runtime_image"] = image
    operator.start()


def image_of(body: Body) -> str:
    return str(body["spec"]["template"]["spec"]["containers"][0]["image"])


def images(api: Api) -> dict[str, str]:
    return {body["metadata"]["name"]: image_of(body) for body in api.every("deployments")}


def artifact_of(body: Body) -> str:
    return str(body["spec"]["template"]["spec"]["initContainers"][0]["args"][1])


def tell(api: Api, name: str, available: int, *, is_late: bool = False) -> None:
    """The status of the newest generation, as the Deployment controller would write it for one replica."""
    reason, status = ("ProgressDeadlineExceeded", "False") if is_late else ("NewReplicaSetAvailable", "True")
    since = "2026-01-01T00:00:00Z"
    progress = {"type": "Progressing", "status": status, "reason": reason, "message": "", "lastTransitionTime": since}
    counts = {"replicas": 1, "updatedReplicas": 1, "readyReplicas": available, "availableReplicas": available}
    generation = api.get("deployments", name)["metadata"]["generation"]
    told = {"observedGeneration": generation, **counts, "conditions": [progress]}
    api.merge("deployments", name, {"status": told}, "/status")


def completes(api: Api, name: str, is_noted: Callable[[dict[str, str]], bool]) -> None:
    """Every replica is available; what the operator notes of that on the Deployment is another generation of it."""
    tell(api, name, 1)
    api.wait_for("deployments", name, lambda body: is_noted(body["metadata"]["annotations"]))
    tell(api, name, 1)


def serves(api: Api, body: Body) -> None:
    name = settled(api, body)["metadata"]["name"]
    rolls_back = body["spec"].get("rollout", {}).get("autoRollback", False)
    completes(api, name, lambda notes: COMPLETE in notes or not rolls_back)
    api.wait_for("neuronmodels", name, has_reason("Serving"))


def writes_of_a_restart(control_plane: ControlPlane, operator: OperatorProcess, api: Api) -> list[str]:
    """What the operator writes in the namespace once everything there is settled, and its process starts anew."""
    wait_for_reconciles(operator)
    before = writes_in(control_plane, api.namespace)
    operator.stop()
    operator.start()
    wait_for_reconciles(operator, len(api.every("neuronmodels")))
    return writes_in(control_plane, api.namespace)[len(before) :]


def test_models_adopt_a_new_release_one_after_the_other(
    api_server: ControlPlane, releases: OperatorProcess, api: Api
) -> None:
    for name in NAMES:
        serves(api, model(name, **AUTOMATIC))
    serves(api, model("manual", replicas=1))
    old, new = image_of(api.get("deployments", "first")), "example.com/runtime:next"
    release(releases, new)
    for number, name in enumerate(NAMES):
        api.wait_for("deployments", name, lambda body: image_of(body) == new)
        wait_for_reconciles(releases)
        adopted = {*NAMES[: number + 1]}
        assert images(api) == {found: new if found in adopted else old for found in (*NAMES, "manual")}
        assert releases.metric(WAITING) == len(NAMES) - number - 1
        release(releases, new)
        wait_for_reconciles(releases, len(NAMES) + 1)
        assert {found for found, image in images(api).items() if image == new} == adopted, "another leader begins none"
        completes(api, name, lambda notes: UPGRADE not in notes)
    for name in NAMES:
        api.wait_for("neuronmodels", name, has_reason("Serving"))
    assert image_of(api.get("deployments", "manual")) == old
    assert writes_of_a_restart(api_server, releases, api) == []


def test_a_release_taken_back_is_adopted_from_its_revision(releases: OperatorProcess, api: Api) -> None:
    serves(api, model("one", **AUTOMATIC))
    before = api.get("deployments", "one")["spec"]["template"]
    release(releases, "example.com/runtime:next")
    api.wait_for("deployments", "one", lambda body: image_of(body) == "example.com/runtime:next")
    release(releases, image_of({"spec": {"template": before}}))
    api.wait_for("deployments", "one", lambda body: body["spec"]["template"] == before)
    wait_for_reconciles(releases)
    revision = before["metadata"]["annotations"]["neuron-serving.dev/revision"]
    assert api.get("controllerrevisions", revision)["revision"] == 3


def test_an_upgrade_that_a_quota_refuses_is_held_and_the_model_goes_on_serving(
    api_server: ControlPlane, releases: OperatorProcess, api: Api
) -> None:
    serves(api, model("one", **AUTOMATIC))
    old = image_of(api.get("deployments", "one"))
    # No controller is there to count for the quota.
    full = {"count/controllerrevisions.apps": "1"}
    quota: Body = {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "full"}, "spec": {"hard": full}}
    api.create("resourcequotas", quota)
    api.merge("resourcequotas", "full", {"status": {"hard": full, "used": full}}, "/status")
    release(releases, "example.com/runtime:next")
    told = api.wait_for("neuronmodels", "one", lambda body: bool(condition(body, "UpgradeHeld")))
    assert "exceeded quota: full" in condition(told, "UpgradeHeld")["message"]
    assert (condition(told)["status"], condition(told)["reason"]) == ("True", "Serving")
    tried = writes_of_a_restart(api_server, releases, api)
    assert set(tried) == {"patch controllerrevisions/"}, "what is refused is tried again, and the status told already"
    api.merge("neuronmodels", "one", {"spec": {"replicas": 0}})
    api.wait_for("deployments", "one", lambda body: body["spec"]["replicas"] == 0 and image_of(body) == old)
    api.delete("resourcequotas", "full")
    api.wait_for("deployments", "one", lambda body: image_of(body) == "example.com/runtime:next")
    api.wait_for("neuronmodels", "one", lambda body: not condition(body, "UpgradeHeld"))


def fails(api: Api, name: str) -> None:
    """A pod of the present template that can't be set up, once the operator has told of it."""
    template = api.get("deployments", name)["spec"]["template"]
    api.create(
        "pods", {"apiVersion": "v1", "kind": "Pod", **template, "metadata": template["metadata"] | {"name": "new"}}
    )
    waiting = {"waiting": {"reason": "CreateContainerConfigError", "message": "secret tokens not found"}}
    container = {"name": "runtime", "image": "example.com/runtime:1", "imageID": "", "ready": False, "restartCount": 0}
    api.merge("pods", "new", {"status": {"containerStatuses": [container | {"state": waiting}]}}, "/status")
    api.wait_for("neuronmodels", name, has_reason("ContainerConfigError"))


def test_a_version_past_its_deadline_is_rolled_back(
    api_server: ControlPlane, releases: OperatorProcess, api: Api
) -> None:
    serves(api, model("sentiment", artifact={"uri": FIRST}, **ROLLING_BACK))
    before = api.get("deployments", "sentiment")
    api.merge("neuronmodels", "sentiment", {"spec": {"artifact": {"uri": SECOND}}})
    changed = api.wait_for("deployments", "sentiment", lambda body: artifact_of(body) == SECOND)
    fails(api, "sentiment")
    tell(api, "sentiment", 0, is_late=True)
    after = api.wait_for("deployments", "sentiment", lambda body: artifact_of(body) == FIRST)
    assert after["spec"]["template"] == before["spec"]["template"]
    told = api.wait_for("neuronmodels", "sentiment", has_reason("RolledBack"))
    given_up = changed["metadata"]["annotations"]["neuron-serving.dev/revision"]
    expected = f"Revision {given_up} was given up: ContainerConfigError: The container can't be started: "
    expected += "secret tokens not found (pod new)."
    assert condition(told)["message"].startswith(expected)
    assert [condition(told, kind)["status"] for kind in ("Ready", "Reconciling", "Stalled")] == [
        "False",
        "False",
        "True",
    ]
    api.delete("pods", "new")
    tell(api, "sentiment", 1)
    api.wait_for(
        "neuronmodels", "sentiment", lambda body: "the last that was complete, serves" in condition(body)["message"]
    )
    assert told["status"]["lastFailure"]["reason"] == "ContainerConfigError"
    assert writes_of_a_restart(api_server, releases, api) == []
    assert artifact_of(api.get("deployments", "sentiment")) == FIRST


def test_the_api_server_takes_the_policies_as_they_are_documented(api: Api, operator: OperatorProcess) -> None:
    body = model("one")
    body["spec"]["runtime"] = {"upgradePolicy": "Sometimes"}
    assert "Manual" in api.try_create("neuronmodels", body).text
    created = settled(api, model("one"))
    assert created["spec"]["rollout"]["autoRollback"] is False
    assert created["spec"]["runtime"]["upgradePolicy"] == "Manual"


def pod_serves(api: Api, artifact: str) -> None:
    """The pod of that version is ready, as a kubelet would tell."""

    def is_of_it(body: Body) -> bool:
        return body["spec"]["initContainers"][0]["args"][1] == artifact and "deletionTimestamp" not in body["metadata"]

    found = api.wait_for_any("pods", "", is_of_it)
    kinds = ("PodScheduled", "Initialized", "ContainersReady", "Ready")
    ready = [{"type": kind, "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"} for kind in kinds]
    status = {"phase": "Running", "conditions": ready}
    api.merge("pods", found["metadata"]["name"], {"status": status}, "/status")


def test_the_deployment_controller_takes_a_late_version_back(
    controlled_api: Api, controlled_operator: OperatorProcess
) -> None:
    api, rollout = controlled_api, {"autoRollback": True, "progressDeadlineSeconds": 3}
    api.create("neuronmodels", model(replicas=1, artifact={"uri": FIRST}, rollout=rollout))
    pod_serves(api, FIRST)
    api.wait_for("neuronmodels", "sentiment", has_reason("Serving"))
    api.merge("neuronmodels", "sentiment", {"spec": {"artifact": {"uri": SECOND}}})
    api.wait_for("deployments", "sentiment", lambda body: artifact_of(body) == SECOND)
    told = api.wait_for("neuronmodels", "sentiment", has_reason("RolledBack"))
    assert "was given up: no progress for 3 seconds" in condition(told)["message"]
    assert artifact_of(api.get("deployments", "sentiment")) == FIRST
    pod_serves(api, FIRST)
    api.wait_for(
        "neuronmodels", "sentiment", lambda body: "the last that was complete, serves" in condition(body)["message"]
    )
