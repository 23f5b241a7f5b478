"""Fights over a field on a real API server: repaired a few times, told, left alone; and nothing is tried in a loop."""

import itertools
import queue
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import pytest
import yaml

from integration.api_client import WAIT_S, Api, Body, condition, has_reason
from integration.models import model, settled
from local_control_plane import ControlPlane, OperatorProcess

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

RECONCILES = "neuron_serving_operator_reconcile_duration_seconds_count"
REPAIRS = 5
# How long a model that can't be helped is watched for looks that nobody asked for, and how many there may be: one late
# echo of each write. A loop without backoff looks hundreds of times.
WATCHED_S, FEW_LOOKS = 4.0, 5
WRONG_DEADLINE_S = 77
OTHER_FIELD = {"spec": {"progressDeadlineSeconds": WRONG_DEADLINE_S}}


@dataclass(frozen=True)
class Opponent:
    """A second server-side-apply client with force: kubectl under the name of a tool."""

    server: ControlPlane
    namespace: str
    field: "Disputed"

    def takes(self, value: Any) -> None:
        body = {
            "apiVersion": self.field.api_version,
            "kind": self.field.kind,
            **_merged({"metadata": {"name": "sentiment"}}, self.field.body(value)),
        }
        self.server.kubectl(
            *("apply", "--server-side", "--force-conflicts", "--field-manager=gitops", "--validate=false"),
            *("--namespace", self.namespace, "--filename", "-"),
            given=yaml.safe_dump(body),
        )


@dataclass(frozen=True)
class Disputed:
    """A field of a child: how to write it, how to read it, and what the opponent wants of it by turns."""

    api_version: str
    kind: str
    plural: str
    path: str
    body: Callable[[Any], Body]
    read: Callable[[Body], Any]
    values: Callable[[int], Any]


REPLICAS = Disputed(
    "apps/v1",
    "Deployment",
    "deployments",
    "spec.replicas",
    lambda value: {"spec": {"replicas": value}},
    lambda body: body["spec"]["replicas"],
    lambda turn: 10 + turn,
)
IMAGE = replace(
    REPLICAS,
    path="spec.template.spec.containers[runtime].image",
    body=lambda value: {"spec": {"template": {"spec": {"containers": [{"name": "runtime", "image": value}]}}}},
    read=lambda body: body["spec"]["template"]["spec"]["containers"][0]["image"],
    values=lambda turn: f"example.com/theirs:{turn}",
)
LABEL = Disputed(
    "v1",
    "Service",
    "services",
    "metadata.labels.app.kubernetes.io/managed-by",
    lambda value: {"metadata": {"labels": {"app.kubernetes.io/managed-by": value}}},
    lambda body: body["metadata"]["labels"]["app.kubernetes.io/managed-by"],
    lambda turn: f"theirs-{turn}",
)


def _merged(one: Body, other: Body) -> Body:
    return {key: {**one.get(key, {}), **other.get(key, {})} for key in {*one, *other}}


def patches(server: ControlPlane, api: Api, plural: str) -> int:
    """Writes of the operator to children of that kind that the API server took."""
    return sum(
        entry["objectRef"]["resource"] == plural
        and entry["objectRef"].get("namespace") == api.namespace
        and entry["responseStatus"]["code"] < 300
        for entry in server.writes_by_operator()
    )


def patches_once_there_are(count: int, server: ControlPlane, api: Api, plural: str) -> int:
    """The watch tells of a write before the audit log does."""
    deadline = time.monotonic() + WAIT_S
    while patches(server, api, plural) < count and time.monotonic() < deadline:
        time.sleep(0.05)
    return patches(server, api, plural)


def fight(opponent: Opponent, api: Api, rounds: int) -> None:
    """Each round the opponent takes the field and, apart from the last, the operator takes it back."""
    field = opponent.field
    ours = field.read(api.get(field.plural, "sentiment"))
    for turn in range(rounds):
        opponent.takes(field.values(turn))
        if turn < rounds - 1:
            api.wait_for(field.plural, "sentiment", lambda body: field.read(body) == ours)


def is_told(body: Body) -> bool:
    return condition(body, "ChildConflict").get("status") == "True"


@pytest.mark.parametrize("field", [REPLICAS, IMAGE, LABEL], ids=["replicas", "image", "label"])
def test_a_field_that_is_taken_back_again_and_again_is_left_to_who_takes_it(
    api_server: ControlPlane, operator: OperatorProcess, api: Api, field: Disputed
) -> None:
    settled(api, model())
    opponent = Opponent(api_server, api.namespace, field)
    fight(opponent, api, REPAIRS + 1)
    told = api.wait_for("neuronmodels", "sentiment", is_told)
    message = condition(told, "ChildConflict")["message"]
    assert message.startswith(f"gitops keeps taking back {field.path} of {field.kind} sentiment.")
    assert condition(told, "Stalled")["status"] == "False"
    for turn in range(20, 24):
        opponent.takes(field.values(turn))
    api.merge(field.plural, "sentiment", {"metadata": {"labels": {"app.kubernetes.io/name": "edited"}}})
    repaired = api.wait_for(
        field.plural,
        "sentiment",
        lambda body: body["metadata"]["labels"]["app.kubernetes.io/name"] == "neuron-runtime",
    )
    assert field.read(repaired) == field.values(23), "what is left to others stays theirs when the rest is repaired"
    created_repaired_and_once_more = 1 + REPAIRS + 1
    found = patches_once_there_are(created_repaired_and_once_more, api_server, api, field.plural)
    assert found == created_repaired_and_once_more
    warnings = [event for event in api.every("events") if event["reason"] == "ChildConflict"]
    assert [(event["type"], event.get("series")) for event in warnings] == [("Warning", None)]


def test_a_field_that_was_left_is_tried_again_when_the_spec_changes(
    api_server: ControlPlane, operator: OperatorProcess, api: Api
) -> None:
    settled(api, model())
    fight(Opponent(api_server, api.namespace, REPLICAS), api, REPAIRS + 1)
    api.wait_for("neuronmodels", "sentiment", is_told)
    api.merge("neuronmodels", "sentiment", {"spec": {"replicas": 3}})
    api.wait_for("deployments", "sentiment", lambda body: body["spec"]["replicas"] == 3)
    api.wait_for("neuronmodels", "sentiment", lambda body: not is_told(body))


def test_a_field_that_somebody_removes_again_and_again_is_left_removed(
    api_server: ControlPlane, operator: OperatorProcess, api: Api
) -> None:
    settled(api, model())
    label = "app.kubernetes.io/managed-by"
    for turn in range(REPAIRS + 1):
        api.merge("services", "sentiment", {"metadata": {"labels": {label: None}}})
        if turn < REPAIRS:
            api.wait_for("services", "sentiment", lambda body: label in body["metadata"]["labels"])
    told = api.wait_for("neuronmodels", "sentiment", is_told)
    assert f"metadata.labels.{label} of Service sentiment" in condition(told, "ChildConflict")["message"]
    assert label not in api.get("services", "sentiment")["metadata"]["labels"]


def test_a_client_that_never_stops_has_its_way_after_five_repairs(
    api_server: ControlPlane, operator: OperatorProcess, api: Api
) -> None:
    settled(api, model())
    opponent = Opponent(api_server, api.namespace, REPLICAS)
    stop, turns = threading.Event(), queue.Queue[int]()

    def take_forever() -> None:
        for turn in itertools.count():
            if stop.is_set():
                return
            opponent.takes(REPLICAS.values(turn))
            turns.put(turn)

    with ThreadPoolExecutor(1) as pool:
        taking = pool.submit(take_forever)
        try:
            api.wait_for("neuronmodels", "sentiment", is_told)
            while not turns.empty():
                turns.get()
            for _ in range(10):
                turns.get(timeout=WAIT_S)
        finally:
            stop.set()
        taking.result(timeout=WAIT_S)
    assert patches(api_server, api, "deployments") == 1 + REPAIRS


MIRROR = "mirror.example/"
IMAGE_POINTER = "/spec/template/spec/containers/0/image"
IMAGE_IN_CEL = "object.spec.template.spec.containers[0].image"


def mirroring(namespace: str) -> list[Body]:
    """A policy, as clusters with a mirror of their own have: it rewrites the image of every Deployment written.

    It fails on a container without an image, as most do.
    """
    rule = {
        "apiGroups": ["apps"],
        "apiVersions": ["v1"],
        "operations": ["CREATE", "UPDATE"],
        "resources": ["deployments"],
    }
    expression = f'[JSONPatch{{op: "replace", path: "{IMAGE_POINTER}", value: "{MIRROR}" + {IMAGE_IN_CEL}}}]'
    once = {"name": "once", "expression": f'!{IMAGE_IN_CEL}.startsWith("{MIRROR}")'}
    where = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    policy = {
        "failurePolicy": "Fail",
        "reinvocationPolicy": "Never",
        "matchConstraints": {"namespaceSelector": where, "resourceRules": [rule]},
        "matchConditions": [once],
        "mutations": [{"patchType": "JSONPatch", "jsonPatch": {"expression": expression}}],
    }
    version, name = "admissionregistration.k8s.io/v1", {"metadata": {"name": f"mirror-{namespace}"}}
    return [
        {"apiVersion": version, "kind": "MutatingAdmissionPolicy", **name, "spec": policy},
        {
            "apiVersion": version,
            "kind": "MutatingAdmissionPolicyBinding",
            **name,
            "spec": {"policyName": name["metadata"]["name"]},
        },
    ]


@pytest.fixture
def mirror(api_server: ControlPlane, api: Api) -> Iterator[None]:
    """The policy, in force."""
    manifests = yaml.safe_dump_all(mirroring(api.namespace))
    api_server.kubectl("apply", "--filename", "-", given=manifests)
    container = {"name": "runtime", "image": "example.com/any:1"}
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [container]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    probe = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "probe"}, "spec": spec}
    deadline = time.monotonic() + WAIT_S
    while not IMAGE.read(api.try_create("deployments", probe).json()).startswith(MIRROR):
        assert time.monotonic() < deadline, "the policy is not in force"
        time.sleep(0.1)
    yield
    api_server.kubectl("delete", "--filename", "-", given=manifests)


def wait_for_a_look(operator: OperatorProcess, since: float) -> None:
    deadline = time.monotonic() + WAIT_S
    while operator.metric(RECONCILES) <= since:
        assert time.monotonic() < deadline, operator.log.read_text()
        time.sleep(0.05)


def touched_until_told(operator: OperatorProcess, api: Api) -> Body:
    """Something else of the Deployment changes until the model tells of the conflict.

    One look may see several changes, so no number of them is sure to be enough; that there are no more repairs than
    there may be is for the caller to count.
    """
    deadline = time.monotonic() + WAIT_S
    turn = 0
    while not is_told(told := api.get("neuronmodels", "sentiment")):
        assert time.monotonic() < deadline, told["status"]
        turn += 1
        looks = operator.metric(RECONCILES)
        api.merge("deployments", "sentiment", {"metadata": {"annotations": {"note": f"something else {turn}"}}})
        wait_for_a_look(operator, looks)
    return told


@pytest.mark.usefixtures("mirror")
def test_what_admission_rewrites_is_given_up_and_the_object_can_still_be_written(
    api_server: ControlPlane, operator: OperatorProcess, api: Api
) -> None:
    settled(api, model())
    told = touched_until_told(operator, api)
    words = f"Admission (a webhook or policy) changes {IMAGE.path} of Deployment sentiment"
    assert condition(told, "ChildConflict")["message"].startswith(words)
    api.merge("deployments", "sentiment", OTHER_FIELD)
    repaired = api.wait_for(
        "deployments", "sentiment", lambda body: body["spec"]["progressDeadlineSeconds"] != WRONG_DEADLINE_S
    )
    assert IMAGE.read(repaired).startswith(MIRROR)
    settled_writes = 1 + REPAIRS + 1
    assert patches_once_there_are(settled_writes, api_server, api, "deployments") == settled_writes


def autoscaler(target: Body) -> Body:
    return {
        "apiVersion": "autoscaling/v2",
        "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "by-load"},
        "spec": {"scaleTargetRef": {**target, "name": "sentiment"}, "maxReplicas": 5},
    }


def test_an_autoscaler_that_aims_at_the_deployment_is_told_until_it_aims_at_the_model(
    api_server: ControlPlane, operator: OperatorProcess, api: Api
) -> None:
    def aim(**target: str) -> None:
        arguments = ("apply", "--server-side", "--namespace", api.namespace, "--filename", "-")
        api_server.kubectl(*arguments, given=yaml.safe_dump(autoscaler(target)))

    settled(api, model())
    aim(apiVersion="apps/v1", kind="Deployment")
    told = api.wait_for("neuronmodels", "sentiment", lambda body: bool(condition(body, "ConflictingAutoscaler")))
    message = condition(told, "ConflictingAutoscaler")["message"]
    assert message.startswith("HorizontalPodAutoscaler by-load aims at Deployment sentiment")
    aim(apiVersion="neuron-serving.dev/v1alpha1", kind="NeuronModel")
    api.wait_for("neuronmodels", "sentiment", lambda body: not condition(body, "ConflictingAutoscaler"))
    aim(apiVersion="apps/v1", kind="Deployment")
    api.wait_for("neuronmodels", "sentiment", lambda body: bool(condition(body, "ConflictingAutoscaler")))
    api_server.kubectl("delete", "--namespace", api.namespace, "horizontalpodautoscaler", "by-load")
    api.wait_for("neuronmodels", "sentiment", lambda body: not condition(body, "ConflictingAutoscaler"))


def idle_looks(operator: OperatorProcess) -> float:
    """Looks of the operator at any model within a few seconds that start when it has nothing left to do."""
    deadline = time.monotonic() + WAIT_S
    while not operator.is_idle():
        assert time.monotonic() < deadline, operator.log.read_text()
        time.sleep(0.05)
    before = operator.metric(RECONCILES)
    # That nothing happens can't be waited for, only watched for a while.
    time.sleep(WATCHED_S)
    return operator.metric(RECONCILES) - before


def foreign_service() -> Body:
    return {"apiVersion": "v1", "kind": "Service", "metadata": {"name": "sentiment"}, "spec": {"ports": [{"port": 9}]}}


HOPELESS = [
    pytest.param(model(placement={"instanceTypes": ["inf2.6xlarge"]}), "NoMatchingInstanceType", id="no-such-type"),
    pytest.param(
        model(resources={"requests": {"memory": "2Gi"}, "limits": {"memory": "1Gi"}}),
        "ChildRejected",
        id="child-rejected",
    ),
    pytest.param(model(), "NameConflict", id="name-conflict"),
]


@pytest.mark.parametrize(("body", "reason"), HOPELESS)
def test_what_cannot_be_helped_is_not_tried_in_a_loop(
    api_server: ControlPlane, operator: OperatorProcess, api: Api, body: Body, reason: str
) -> None:
    if reason == "NameConflict":
        api.create("services", foreign_service())
    api.create("neuronmodels", body)
    api.wait_for("neuronmodels", "sentiment", has_reason(reason))
    assert idle_looks(operator) <= FEW_LOOKS


def has_ready_replicas(count: int, body: Body) -> bool:
    return bool(body["status"]["readyReplicas"] == count)


def test_a_model_costs_at_most_three_events_until_it_serves(operator: OperatorProcess, api: Api) -> None:
    settled(api, model())
    generation = api.get("deployments", "sentiment")["metadata"]["generation"]
    for ready in (0, 1, 2):
        counts = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": ready, "availableReplicas": ready}
        status = {"status": {"observedGeneration": generation, **counts}}
        api.merge("deployments", "sentiment", status, "/status")
        api.wait_for("neuronmodels", "sentiment", partial(has_ready_replicas, ready))
    api.wait_for("neuronmodels", "sentiment", has_reason("Serving"))
    api.wait_for_any("events", "reason=Serving")
    assert len(api.every("events")) <= 3
