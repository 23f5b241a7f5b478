"""What a model, its children, its pods and its status look like once nothing happens any more; told independently of
the code that brings them there."""

import json
from collections.abc import Collection, Mapping
from typing import Any

from fakes.cluster import Body
from fakes.controllers import LABEL_TEMPLATE_HASH, Controllers
from fakes.watched_cluster import WatchedCluster
from neuron_operator.api import NeuronModel
from neuron_operator.api.conditions import Reason
from neuron_operator.errors import InvalidSpecError
from neuron_operator.indices import CHILD_KINDS
from neuron_operator.names import LABEL_MODEL, RESOURCE_NEURONCORE
from neuron_operator.plan import controller_of
from rollout_world import NAMESPACE, is_ready

WRONG_TYPE = "inf2.6xlarge"
READY = {"Serving", "Suspended", "ScaledToZero"}
KSTATUS = {"Ready", "Reconciling", "Stalled"}


def desired_replicas(body: Body) -> int:
    return 0 if body["spec"].get("suspend") else int(body["spec"].get("replicas", 1))


def is_readable(body: Body) -> bool:
    try:
        NeuronModel.parse(body)
    except InvalidSpecError:
        return False
    return True


def reason_of(body: Body) -> str:
    """Of Ready; empty while there is none."""
    conditions = body.get("status", {}).get("conditions", ())
    return next((str(condition["reason"]) for condition in conditions if condition["type"] == "Ready"), "")


def check_model(body: Body, api: WatchedCluster, controllers: Controllers, edited: Collection[str] = ()) -> None:
    """`edited` are the models whose template may be one that somebody edited by hand."""
    name = body["metadata"]["name"]
    states, reason = check_status(body)
    if not is_readable(body):
        assert (states, reason) == ({"Stalled"}, "InvalidSpec"), name
        return
    foreign = [child for kind in CHILD_KINDS for child in api.every(kind) if _is_in_the_way(child, body)]
    if foreign:
        assert (states, reason) in (({"Stalled"}, "NameConflict"), ({"Stalled"}, "NoMatchingInstanceType")), name
        return
    live = api.find("Deployment", NAMESPACE, name)
    is_refused = WRONG_TYPE in body["spec"]["placement"]["instanceTypes"]
    if live is not None or not is_refused:
        check_children(body, api, is_edited=name in edited)
    if is_refused:
        assert (states, reason) == ({"Stalled"}, "NoMatchingInstanceType"), (name, states, reason)
    elif desired_replicas(body) == 0:
        expected = "Suspended" if body["spec"].get("suspend") else "ScaledToZero"
        assert (states, reason) == ({"Ready"}, expected), (name, states, reason)
    elif is_complete(body, live, controllers):
        assert (states, reason) == ({"Ready"}, "Serving"), (name, states, reason)
    else:
        assert "Ready" not in states, f"{name} is said to be ready"
        assert reason not in ("Progressing", *READY), f"{name} does not say what it waits for: {reason}"


def check_status(body: Body) -> tuple[set[str], str]:
    """Which of Ready, Reconciling and Stalled are true, and why: always one, of the newest generation."""
    name, status = body["metadata"]["name"], body.get("status", {})
    assert status.get("observedGeneration") == body["metadata"]["generation"], f"{name} was not looked at"
    conditions = {condition["type"]: condition for condition in status["conditions"]}
    assert set(conditions) == KSTATUS, f"{name} has conditions {sorted(conditions)}"
    states = {kind for kind, condition in conditions.items() if condition["status"] == "True"}
    assert len(states) == 1, f"{name} is {sorted(states)}"
    ready = conditions["Ready"]
    assert ready["reason"] in set(Reason), f"{name} gives no reason that is known: {ready}"
    assert ready["message"], f"{name} says nothing: {ready}"
    return states, ready["reason"]


def check_children(body: Body, api: WatchedCluster, *, is_edited: bool) -> None:
    name, uid = body["metadata"]["name"], body["metadata"]["uid"]
    revisions = [child for child in api.every("ControllerRevision") if _owner_uid(child) == uid]
    assert revisions, f"{name} has no ControllerRevision"
    found = {kind: api.find(kind, NAMESPACE, name) for kind in CHILD_KINDS if kind != "ControllerRevision"}
    for kind, child in found.items():
        assert child is not None, f"{name} has no {kind}"
        assert _owner_uid(child) == uid, f"the {kind} of {name} is not its own"
        assert child["metadata"]["labels"][LABEL_MODEL] == name, f"the {kind} of {name} has lost its label"
    deployment, service, budget = (_spec(child) for child in found.values())
    assert deployment["replicas"] == desired_replicas(body), f"{name} has {deployment['replicas']} replicas"
    images = [container["image"] for container in deployment["template"]["spec"]["containers"]]
    assert is_edited or images == ["example.com/runtime:1"], f"{name} runs {images}"
    assert deployment["strategy"]["rollingUpdate"]["maxSurge"] in (0, 1), f"{name} may surge by more than one"
    assert (service["ports"][0]["port"], service["selector"]) == (80, {LABEL_MODEL: name}), f"{name}: {service}"
    assert budget["maxUnavailable"] == 1, f"{name}: {budget}"


def is_complete(body: Body, live: Body | None, controllers: Controllers) -> bool:
    """Every replica is of the template that the spec asks for, ready, and there is none besides."""
    if live is None:
        return False
    spec, template = body["spec"], json.dumps(live["spec"]["template"])
    if spec["artifact"]["uri"] not in template or ('"A"' in template) != bool(spec.get("pod")):
        return False
    runtime = live["spec"]["template"]["spec"]["containers"][0]
    if int(runtime["resources"]["requests"][RESOURCE_NEURONCORE]) != spec["neuronCores"]:
        return False
    pods = controllers.of(body["metadata"]["name"])
    hashes = {pod["metadata"]["labels"][LABEL_TEMPLATE_HASH] for pod in pods}
    return len(hashes) == 1 and all(map(is_ready, pods)) and len(pods) == desired_replicas(body)


def _is_in_the_way(child: Body, model: Body) -> bool:
    """An object of the model's name that is somebody else's, or nobody's that could be told to be its own."""
    name, owner = model["metadata"]["name"], controller_of(child)
    if child["kind"] == "ControllerRevision" or child["metadata"]["name"] != name:
        return False
    if owner is not None:
        return bool(owner["kind"] != "NeuronModel")
    return bool(child["metadata"].get("labels", {}).get(LABEL_MODEL) != name)


def _owner_uid(child: Body) -> str:
    return str((controller_of(child) or {}).get("uid", ""))


def _spec(child: Body | None) -> Mapping[str, Any]:
    assert child is not None
    spec: Mapping[str, Any] = child["spec"]
    return spec
