"""What a model, its children, its pods and its status look like once nothing happens any more; told independently of
the code that brings them there."""

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from fakes.cluster import Body
from fakes.controllers import LABEL_TEMPLATE_HASH, Controllers
from fakes.versions_seen import asked_by, note
from fakes.watched_cluster import WatchedCluster
from neuron_operator.api import NeuronModel
from neuron_operator.api.conditions import Reason
from neuron_operator.changes import desired_hash
from neuron_operator.errors import InvalidSpecError
from neuron_operator.indices import CHILD_KINDS, HPA
from neuron_operator.names import (
    ANNOTATION_COMPLETE,
    ANNOTATION_GIVEN_UP,
    ANNOTATION_UPGRADE,
    KIND,
    LABEL_MODEL,
    RESOURCE_NEURONCORE,
)
from neuron_operator.plan import controller_of
from neuron_operator.revisions import revision_of
from rollout_world import NAMESPACE, is_ready

WRONG_TYPE = "inf2.6xlarge"
RELEASES = (1, 2, 3)
READY = {"Serving", "Suspended", "ScaledToZero"}
# What is said before the pods are looked at, and what they say before anything is said of those that are missing.
PLANNED = {"RolledBack", "RolloutWouldLoseCores", "NoMatchingInstanceType"}
OF_PODS = {"ArtifactNotFound", "CrashLoop"}
KSTATUS = {"Ready", "Reconciling", "Stalled"}


def desired_replicas(body: Body) -> int:
    return 0 if body["spec"].get("suspend") else int(body["spec"].get("replicas", 1))


def is_readable(body: Body) -> bool:
    try:
        NeuronModel.parse(body)
    except InvalidSpecError:
        return False
    return True


def ready_of(body: Body) -> Body:
    """The condition; empty while there is none."""
    conditions = body.get("status", {}).get("conditions", ())
    return next((condition for condition in conditions if condition["type"] == "Ready"), {})


def is_seen(child: Body) -> bool:
    """Whether a watch shows it to the operator."""
    return LABEL_MODEL in child["metadata"].get("labels", {})


def is_upgrade_held(body: Body) -> bool:
    return any(condition["type"] == "UpgradeHeld" for condition in body["status"]["conditions"])


@dataclass(frozen=True)
class Settled:
    """The cluster at rest, under an operator of that release. `edited` are the models whose template may be one that
    somebody edited by hand."""

    api: WatchedCluster
    controllers: Controllers
    release: int = 1
    edited: Collection[str] = ()

    def check_model(self, body: Body) -> None:
        name, api = body["metadata"]["name"], self.api
        states, reason = check_status(body, is_autoscaled=self._is_autoscaled(name))
        if not is_readable(body):
            assert (states, reason) == ({"Stalled"}, "InvalidSpec"), name
            return
        live = api.find("Deployment", NAMESPACE, name)
        is_refused = WRONG_TYPE in body["spec"]["placement"]["instanceTypes"]
        if self._is_kept_out(body, states, reason):
            return
        if self.may_be_refused(body):
            assert (states, reason) == ({"Reconciling"}, "QuotaExceeded") or reason in PLANNED, (name, states, reason)
            assert not is_refused or reason == "NoMatchingInstanceType", (name, reason)
            self._check_scaled(body, live)
            return
        if live is not None or not is_refused:
            check_children(body, api, is_edited=name in self.edited)
            check_notes(body, api)
        if is_refused:
            assert (states, reason) == ({"Stalled"}, "NoMatchingInstanceType"), (name, states, reason)
        elif note(live, ANNOTATION_GIVEN_UP):
            assert (states, reason) == ({"Stalled"}, "RolledBack"), (name, states, reason)
        elif desired_replicas(body) == 0:
            expected = "Suspended" if body["spec"].get("suspend") else "ScaledToZero"
            assert (states, reason) == ({"Ready"}, expected), (name, states, reason)
        elif is_complete(body, live, self.controllers):
            assert (states, reason) == ({"Ready"}, "Serving"), (name, states, reason)
        else:
            self._check_unready(body, live, states, reason)
        if reason in READY:
            self._check_upgraded(body)

    def _is_kept_out(self, body: Body, states: set[str], reason: str) -> bool:
        """Whether somebody else has a name that it needs, which it says then."""
        name = body["metadata"]["name"]
        if reason == "NameConflict" and self._has_lost_revision(name):
            assert states == {"Stalled"}, name
            return True
        if not self.is_name_taken(body) or (reason == "QuotaExceeded" and self.may_be_refused(body)):
            return False
        # What is planned is said first; a rollout that waits is no end.
        assert reason in ("NameConflict", *PLANNED), (name, reason)
        assert states == ({"Reconciling"} if reason == "RolloutWouldLoseCores" else {"Stalled"}), (name, states)
        return True

    def is_name_taken(self, body: Body) -> bool:
        return any(_is_in_the_way(child, body) for kind in CHILD_KINDS for child in self.api.every(kind))

    def may_be_refused(self, body: Body) -> bool:
        """Whether a write that is tried again and again may not go through."""
        ready = ready_of(body)
        # Which revision is missing is the operator's own business; whether pods are is told of the Deployment.
        kinds = self.api.full - {"ControllerRevision"}
        is_missing = any(self.api.find(kind, NAMESPACE, body["metadata"]["name"]) is None for kind in kinds)
        is_short = ready.get("reason") == "QuotaExceeded" and not ready["message"].startswith("Pods can't be created")
        return ready.get("reason") == "NameConflict" or is_missing or (is_short and bool(self.api.full))

    def _has_lost_revision(self, name: str) -> bool:
        """Whether one has lost its label and its owner, so that nobody could tell whose it is."""
        return any(
            controller_of(child) is None and LABEL_MODEL not in child["metadata"].get("labels", {})
            for child in self.api.every("ControllerRevision")
            if child["metadata"]["name"].partition("-")[0] == name
        )

    def _check_scaled(self, body: Body, live: Body | None) -> None:
        """Whatever can't be written beside it, what runs has its replicas; without its revision it waits for that."""
        if live is None or not is_seen(live) or _owner_uid(live) != body["metadata"]["uid"]:
            return
        if self.api.find("ControllerRevision", NAMESPACE, revision_of(live["spec"]["template"])) is not None:
            assert live["spec"]["replicas"] == desired_replicas(body), f"{body['metadata']['name']} is not scaled"

    def _check_unready(self, body: Body, live: Body | None, states: set[str], reason: str) -> None:
        name = body["metadata"]["name"]
        assert "Ready" not in states, f"{name} is said to be ready"
        assert reason not in ("Progressing", "RolledBack", *READY), f"{name} does not say what it waits for: {reason}"
        told = {condition["type"]: condition for condition in (live or {}).get("status", {}).get("conditions", ())}
        is_short = "ReplicaFailure" in told
        assert is_short or reason != "QuotaExceeded", f"{name} has every pod that it asked for"
        assert not is_short or reason in ("QuotaExceeded", *PLANNED, *OF_PODS), f"{name} lacks pods and says {reason}"
        if told["Progressing"]["status"] == "False" and may_roll_back(body, live, self.api):
            assert reason == "RolloutWouldLoseCores", f"{name} is late and was not rolled back: {reason}"

    def _check_upgraded(self, body: Body) -> None:
        """Whoever is in order and wants to upgrade has, unless another is in the middle of it or wants its cores, or a
        quota is in the way; and who has not though nobody else upgrades says why."""
        name = body["metadata"]["name"]
        if not asked_by(body["spec"]).is_automatic or name in self.edited:
            return
        others = {other["metadata"]["name"]: other for other in self.api.every(KIND) if other is not body}
        is_stopped = any(
            note(self.api.find("Deployment", NAMESPACE, other), ANNOTATION_UPGRADE)
            for other, found in others.items()
            if asked_by(found["spec"]).is_automatic
        )
        is_contended = any("nodeName" not in pod["spec"] for pod in self.controllers.pods.values())
        may_wait = desired_replicas(body) > 0 and (is_stopped or is_contended)
        runs, is_held = image_in(self.api.find("Deployment", NAMESPACE, name)), is_upgrade_held(body)
        if runs == image_of(self.release):
            assert not is_held, f"{name} has upgraded and says that it could not"
        else:
            assert may_wait or self.api.full, f"{name} did not upgrade: {runs}"
            assert is_held or is_stopped, f"{name} does not say why it did not upgrade"

    def _is_autoscaled(self, name: str) -> bool:
        """Whether an autoscaler sets the replicas of a Deployment that is a model's, and can be seen to be."""
        live = self.api.find("Deployment", NAMESPACE, name)
        is_ours = live is not None and is_seen(live) and (controller_of(live) or {}).get("kind") == KIND
        targets = [body["spec"]["scaleTargetRef"] for body in self.api.every(HPA)]
        return is_ours and any((target["kind"], target["name"]) == ("Deployment", name) for target in targets)


def check_notes(body: Body, api: WatchedCluster) -> None:
    """What is noted on the Deployment is still going on: nothing is, for a model that asks for none of it."""
    name, live, asked = (
        body["metadata"]["name"],
        api.find("Deployment", NAMESPACE, body["metadata"]["name"]),
        asked_by(body["spec"]),
    )
    upgrade, given_up, complete = (
        note(live, kind) for kind in (ANNOTATION_UPGRADE, ANNOTATION_GIVEN_UP, ANNOTATION_COMPLETE)
    )
    assert live is not None
    runs = revision_of(live["spec"]["template"])
    if given_up:
        assert asked.rolls_back, f"{name} has given up {given_up}, but was to keep it"
        assert runs == complete != given_up, f"{name} has given up {given_up} and runs {runs}, complete was {complete}"
    if upgrade:
        assert asked.is_automatic, f"{name} upgrades, but was to be left alone"
        status, wanted = live["status"], live["spec"]["replicas"]
        figures = {status.get(kind, 0) for kind in ("replicas", "updatedReplicas", "availableReplicas")}
        assert upgrade == given_up or figures != {wanted}, f"{name} is still said to upgrade to {upgrade}"


def may_roll_back(body: Body, live: Body | None, api: WatchedCluster) -> bool:
    """Whether the model asks for it, and another version was complete and is still there."""
    complete = note(live, ANNOTATION_COMPLETE)
    kept = api.find("ControllerRevision", NAMESPACE, complete)
    is_another = live is not None and complete not in ("", revision_of(live["spec"]["template"]))
    is_labeled = kept is not None and kept["metadata"].get("labels", {}).get(LABEL_MODEL) == body["metadata"]["name"]
    return asked_by(body["spec"]).rolls_back and is_another and is_labeled


def check_status(body: Body, *, is_autoscaled: bool) -> tuple[set[str], str]:
    """Which of Ready, Reconciling and Stalled are true, and why: always one, of the newest generation."""
    name, status = body["metadata"]["name"], body.get("status", {})
    assert status.get("observedGeneration") == body["metadata"]["generation"], f"{name} was not looked at"
    conditions = {condition["type"]: condition for condition in status["conditions"]}
    expected = KSTATUS | ({"ConflictingAutoscaler"} if is_autoscaled else set())
    may_hold = {"UpgradeHeld"} if asked_by(body["spec"]).is_automatic else set()
    assert set(conditions) - may_hold == expected, f"{name} has conditions {sorted(conditions)}"
    states = {kind for kind in KSTATUS if conditions[kind]["status"] == "True"}
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
    assert is_edited or image_in(found["Deployment"]) in map(image_of, RELEASES), f"{name} runs another image"
    assert deployment["strategy"]["rollingUpdate"]["maxSurge"] in (0, 1), f"{name} may surge by more than one"
    assert (service["ports"][0]["port"], service["selector"]) == (80, {LABEL_MODEL: name}), f"{name}: {service}"
    assert budget["maxUnavailable"] == 1, f"{name}: {budget}"


def image_of(release: int) -> str:
    """What an operator of that release runs a model on."""
    return f"example.com/runtime:{release}"


def image_in(live: Body | None) -> str:
    return str(live["spec"]["template"]["spec"]["containers"][0]["image"]) if live is not None else ""


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
    return (
        hashes == {desired_hash(live["spec"]["template"])}
        and all(map(is_ready, pods))
        and len(pods) == desired_replicas(body)
    )


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
