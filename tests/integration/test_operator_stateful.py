"""A few stories of random steps on a real API server with controllers, scheduler and kwok's nodes.

The operator is a process. After each story the cluster comes to rest, as the models ask or with a reason, and the audit
log shows no excess.

tests/neuron_operator/test_stateful.py tries thousands of them in memory. NEURON_STATEFUL_EXAMPLES=20 tries more here.
"""

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule, run_state_machine_as_test

from integration.api_client import Api, Body, condition
from integration.conftest import install_crd, run_control_plane
from integration.models import model
from local_control_plane import ControlPlane, OperatorProcess, create_nodes, fail_pod
from local_control_plane.client import RefusedError

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

EXAMPLES = int(os.environ.get("NEURON_STATEFUL_EXAMPLES", "3"))
STEPS = 12
NAMES = ("one", "two")
NODES = 3
NAMESPACE = "stories"
# A surge that finds no node is given up after 60 seconds and the time that a pod may take to end.
REST_TIMEOUT_S, LOOK_S = 150.0, 0.25
# Who waits for cores is looked at again a second after the last change, and until then nothing shows that it will be.
LOOKS_AT_REST = 6
RECONCILES = "neuron_serving_operator_reconcile_duration_seconds_count"
WRITES_FOR_A_STEP, LOOKS = 40, 5
WRONG = {"placement": {"instanceTypes": ["inf2.6xlarge"]}}
CHILDREN = ("deployments", "services", "poddisruptionbudgets", "controllerrevisions")
EDITS: dict[str, Body] = {
    "deployments": {"spec": {"replicas": 4, "progressDeadlineSeconds": 7}},
    "services": {"spec": {"selector": {"app": "edited"}}},
    "poddisruptionbudgets": {"spec": {"maxUnavailable": 2}},
    "controllerrevisions": {"metadata": {"labels": {"app.kubernetes.io/name": "edited"}}},
}


@dataclass
class Stage:
    """The cluster and the operator on it; `steps` counts what was done to them."""

    control_plane: ControlPlane
    operator: OperatorProcess
    api: Api
    nodes: list[str]
    steps: int = 0
    stories: int = 0
    failures: list[str] = field(default_factory=list)

    def models(self) -> list[Body]:
        return self.api.every("neuronmodels")

    def children(self, name: str, plural: str) -> list[str]:
        names = [body["metadata"]["name"] for body in self.api.every(plural)]
        return [found for found in names if found.partition("-")[0] == name]

    def pods(self, name: str = "") -> list[Body]:
        """Those that are neither ending nor over."""
        return [
            pod
            for pod in self.api.every("pods")
            if "deletionTimestamp" not in pod["metadata"] and pod["status"]["phase"] != "Failed"
            if not name or pod["metadata"]["labels"]["neuron-serving.dev/model"] == name
        ]

    def versions(self) -> set[str]:
        """Of what the controllers change; a settled operator does not."""
        seen = [*self.api.every("pods"), *self.api.every("deployments")]
        return {body["metadata"]["uid"] + body["metadata"]["resourceVersion"] for body in seen}

    def cordon(self, node: str, *, is_closed: bool) -> None:
        self.api.merge("nodes", node, {"spec": {"unschedulable": is_closed}}, is_namespaced=False)

    def restart(self) -> None:
        self.operator.kill()
        self.operator.start()

    def wait_until_at_rest(self) -> None:
        """The statuses say what is true, several times in a row with nothing to be done by the operator in between."""
        deadline, looks = time.monotonic() + REST_TIMEOUT_S, 0
        while looks < LOOKS_AT_REST:
            wrong = self._unrest()
            looks = 0 if wrong else looks + 1
            assert time.monotonic() < deadline, f"never comes to rest: {wrong}\n{self.operator.log.read_text()[-4000:]}"
            time.sleep(LOOK_S)

    def writes(self, since: int = 0) -> list[str]:
        """What the operator wrote in the namespace, Events aside."""
        return [
            f"{entry['verb']} {entry['objectRef']['resource']}/{entry['objectRef'].get('subresource', '')}"
            for entry in self.control_plane.requests_by_operator(since)
            if entry["verb"] not in ("get", "list", "watch")
            if entry["objectRef"].get("namespace") == NAMESPACE and entry["objectRef"]["resource"] != "events"
        ]

    def _unrest(self) -> str:
        if not self.operator.is_idle():
            return "the operator is busy"
        return "; ".join(wrong for body in self.models() if (wrong := self._wrong_with(body)))

    def _wrong_with(self, body: Body) -> str:
        """What the status of the model, or its children, lack of the truth; empty when all is well."""
        name, spec, told = body["metadata"]["name"], body["spec"], condition(body)
        if body.get("status", {}).get("observedGeneration") != body["metadata"]["generation"]:
            return f"{name} was not looked at"
        states = [kind for kind in ("Ready", "Reconciling", "Stalled") if condition(body, kind).get("status") == "True"]
        if len(states) != 1:
            return f"{name} is {states}"
        live = self.api.find("deployments", name)
        if live is not None and not self._is_counted(body, live):
            return f"{name} has not told or not counted its replicas"
        if spec.get("placement", {}).get("instanceTypes"):
            is_told = (states, told["reason"]) == (["Stalled"], "NoMatchingInstanceType")
            return "" if is_told else f"{name} is {states} because of {told['reason']}, and can't be placed"
        wanted = 0 if spec.get("suspend") else spec["replicas"]
        lacking = self._lacking(name, live, wanted)
        if live is None or lacking:
            return f"{name} lacks {lacking}; its conditions are {body['status']['conditions']}"
        if self._is_complete(live, wanted, spec["artifact"]["uri"]):
            return "" if states == ["Ready"] else f"{name} is complete, and {states} because of {told['reason']}"
        is_told = states != ["Ready"] and told["reason"] != "Progressing" and told["message"]
        return "" if is_told else f"{name} is {states} because of {told['reason']}, and not complete"

    def _is_counted(self, body: Body, live: Body) -> bool:
        """Whether the status has the Deployment's counts, and that has its controller's word on what it is now."""
        told, found = body["status"], live.get("status", {})
        counts = ("replicas", "readyReplicas", "updatedReplicas")
        is_current = found.get("observedGeneration") == live["metadata"]["generation"]
        is_whole = found.get("replicas", 0) == len(self.pods(body["metadata"]["name"]))
        return is_current and is_whole and all(told.get(name, 0) == found.get(name, 0) for name in counts)

    def _lacking(self, name: str, live: Body | None, wanted: int) -> list[str]:
        """What of its children is not there, or not as it should be."""
        if live is None:
            return ["the Deployment"]
        service, budget = self.api.find("services", name), self.api.find("poddisruptionbudgets", name)
        labels = [body["metadata"]["labels"]["app.kubernetes.io/name"] for body in self._revisions(name)]
        edited_seconds = EDITS["deployments"]["spec"]["progressDeadlineSeconds"]
        is_there = {
            f"{wanted} replicas": live["spec"]["replicas"] == wanted,
            "its progress deadline": live["spec"]["progressDeadlineSeconds"] != edited_seconds,
            "the Service": service is not None,
            "its selector": service is None or service["spec"]["selector"] == {"neuron-serving.dev/model": name},
            "the PodDisruptionBudget": budget is not None,
            "its maxUnavailable": budget is None or budget["spec"]["maxUnavailable"] == 1,
            "a revision with its label": "neuron-runtime" in labels,
        }
        return [what for what, holds in is_there.items() if not holds]

    def _revisions(self, name: str) -> list[Body]:
        return [self.api.get("controllerrevisions", found) for found in self.children(name, "controllerrevisions")]

    def _is_complete(self, live: Body, wanted: int, uri: str) -> bool:
        status = live.get("status", {})
        counts = {status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas")}
        is_current = status.get("observedGeneration") == live["metadata"]["generation"]
        return is_current and counts == {wanted} and uri in str(live["spec"]["template"])


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    for control_plane in run_control_plane(tmp_path_factory.mktemp("stories")):
        control_plane.start_controller_manager()
        control_plane.start_scheduler()
        control_plane.start_kwok()
        install_crd(control_plane)
        nodes = create_nodes(control_plane, NODES, "inf2.xlarge")
        operator = OperatorProcess(control_plane.operator_kubeconfig, control_plane.folder / "operator.log")
        api = Api(control_plane.kubeconfig, NAMESPACE)
        body = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}}
        api.create("namespaces", body, is_namespaced=False)
        try:
            operator.start()
            yield Stage(control_plane, operator, api, nodes)
        finally:
            operator.kill()
            api.close()


class Story(RuleBasedStateMachine):
    """Nothing waits for anything but the API server's answers, until the end."""

    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        self.api = self.stage.api
        for name in NAMES:
            self.api.create("neuronmodels", model(name, replicas=1))

    @rule(name=st.sampled_from(NAMES), number=st.integers(1, 3))
    def edit(self, name: str, number: int) -> None:
        self._change(name, {"artifact": {"uri": f"https://models.example/{number}/"}, "placement": None})

    @rule(name=st.sampled_from(NAMES))
    def edit_wrongly(self, name: str) -> None:
        self._change(name, WRONG)

    @rule(name=st.sampled_from(NAMES), suspend=st.booleans())
    def suspend(self, name: str, suspend: bool) -> None:
        self._change(name, {"suspend": suspend})

    @rule(name=st.sampled_from(NAMES), replicas=st.integers(0, 3))
    def scale(self, name: str, replicas: int) -> None:
        self.stage.steps += 1
        self.api.merge("neuronmodels", name, {"spec": {"replicas": replicas}}, "/scale")

    @rule(name=st.sampled_from(NAMES), replicas=st.integers(1, 2))
    def delete_and_create(self, name: str, replicas: int) -> None:
        self.stage.steps += 1
        self.api.delete("neuronmodels", name)
        self.api.wait_until_gone("neuronmodels", name)
        self.api.create("neuronmodels", model(name, replicas=replicas))

    @rule(name=st.sampled_from(NAMES), plural=st.sampled_from(CHILDREN))
    def edit_child(self, name: str, plural: str) -> None:
        self.stage.steps += 1
        for child in self.stage.children(name, plural):
            self._if_still_there("PATCH", plural, child, EDITS[plural])

    @rule(name=st.sampled_from(NAMES), plural=st.sampled_from(CHILDREN))
    def delete_child(self, name: str, plural: str) -> None:
        self.stage.steps += 1
        for child in self.stage.children(name, plural):
            self._if_still_there("DELETE", plural, child)

    @rule(number=st.integers(0, 5), is_deleted=st.booleans())
    def lose_pod(self, number: int, is_deleted: bool) -> None:
        self.stage.steps += 1
        names = [pod["metadata"]["name"] for pod in self.stage.pods() if pod["spec"].get("nodeName")]
        if names and is_deleted:
            self._if_still_there("DELETE", "pods", names[number % len(names)])
        elif names:
            with suppress(RefusedError):
                fail_pod(self.stage.control_plane, NAMESPACE, names[number % len(names)])

    @rule(number=st.integers(0, NODES - 1), is_closed=st.booleans())
    def cordon(self, number: int, is_closed: bool) -> None:
        self.stage.steps += 1
        self.stage.cordon(self.stage.nodes[number], is_closed=is_closed)

    @rule(number=st.integers(0, NODES - 1))
    def replace_node(self, number: int) -> None:
        self.stage.steps += 1
        self.api.delete("nodes", self.stage.nodes[number], is_namespaced=False)
        create_nodes(self.stage.control_plane, 1, "inf2.xlarge", number)

    @rule()
    def kill_operator(self) -> None:
        self.stage.steps += 1
        self.stage.restart()

    def teardown(self) -> None:
        """What is wrong is told after the last story: none can be played again on a cluster that went on."""
        self.stage.stories += 1
        try:
            self._end()
        except AssertionError as failure:
            self.stage.failures.append(str(failure))
        finally:
            self._clear()

    def _end(self) -> None:
        """A second look writes nothing; where controllers did something in the meantime, it is taken again."""
        for _ in range(LOOKS):
            self.stage.wait_until_at_rest()
            position, before = self.stage.control_plane.audit_position(), self.stage.versions()
            self.stage.restart()
            wait_for_looks(self.stage.operator, len(self.stage.models()))
            written = self.stage.writes(position)
            if not written:
                return
            assert self.stage.versions() != before, f"a second look writes {written}"
        raise AssertionError("the controllers never come to rest")

    def _clear(self) -> None:
        for name in NAMES:
            self.api.delete("neuronmodels", name)
        for plural in (*CHILDREN, "pods"):
            for name in NAMES:
                for child in self.stage.children(name, plural):
                    self.api.wait_until_gone(plural, child)
        for node in self.stage.nodes:
            self.stage.cordon(node, is_closed=False)

    def _change(self, name: str, spec: Body) -> None:
        self.stage.steps += 1
        self.api.merge("neuronmodels", name, {"spec": spec})

    def _if_still_there(self, method: str, plural: str, name: str, patch: Body | None = None) -> None:
        """Garbage collection and the operator delete, too."""
        try:
            if patch is not None:
                self.api.merge(plural, name, patch)
            else:
                self.api.delete(plural, name)
        except AssertionError:
            assert self.api.find(plural, name) is None, f"{plural} {name} refuses {method}"


def wait_for_looks(operator: OperatorProcess, count: int) -> None:
    deadline = time.monotonic() + REST_TIMEOUT_S
    while operator.metric(RECONCILES) < count or not operator.is_idle():
        assert time.monotonic() < deadline, operator.log.read_text()[-4000:]
        time.sleep(LOOK_S)


def test_after_a_story_with_each_kind_of_step_the_cluster_is_as_the_models_ask(stage: Stage) -> None:
    """What the few random ones below may leave out."""
    story = type("StoryOnStage", (Story,), {"stage": stage})()
    failures = len(stage.failures)
    story.edit(name="one", number=2)
    story.scale(name="two", replicas=3)
    for plural in CHILDREN:
        story.edit_child(name="one", plural=plural)
        story.delete_child(name="two", plural=plural)
    story.kill_operator()
    for is_deleted in (True, False):
        story.lose_pod(number=0, is_deleted=is_deleted)
    story.replace_node(number=0)
    story.cordon(number=1, is_closed=True)
    story.suspend(name="one", suspend=True)
    story.edit_wrongly(name="two")
    story.delete_and_create(name="one", replicas=2)
    story.edit(name="two", number=3)
    story.cordon(number=1, is_closed=False)
    story.teardown()
    assert stage.failures[failures:] == []


def test_after_any_story_the_cluster_is_as_the_models_ask_or_they_say_why_not(stage: Stage) -> None:
    run_state_machine_as_test(
        type("StoryOnStage", (Story,), {"stage": stage}),
        settings=settings(
            max_examples=EXAMPLES,
            stateful_step_count=STEPS,
            phases=(Phase.generate,),
            derandomize=True,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert not stage.failures, "\n\n".join(stage.failures)
    written = [entry for entry in stage.control_plane.writes_by_operator() if is_of_a_model(entry)]
    assert {entry["objectRef"].get("subresource") for entry in written} == {"status"}
    paths = {operation["path"] for entry in written for operation in entry["requestObject"]}
    assert paths == {"/metadata/resourceVersion", "/status"}
    writes, most = len(stage.writes()), WRITES_FOR_A_STEP * (stage.steps + len(NAMES) * stage.stories)
    assert writes <= most, f"{writes} writes for {stage.steps} steps"


def is_of_a_model(entry: dict[str, Any]) -> bool:
    return bool(entry["objectRef"]["resource"] == "neuronmodels")


def test_an_edited_revision_is_repaired(stage: Stage) -> None:
    stage.api.create("neuronmodels", model("one", replicas=1))
    stage.wait_until_at_rest()
    (name,) = stage.children("one", "controllerrevisions")
    data = stage.api.get("controllerrevisions", name)["data"]
    stage.api.merge("controllerrevisions", name, EDITS["controllerrevisions"])
    repaired = stage.api.wait_for(
        "controllerrevisions", name, lambda body: body["metadata"]["labels"]["app.kubernetes.io/name"] != "edited"
    )
    assert repaired["data"] == data
    stage.api.delete("neuronmodels", "one")
    stage.api.wait_until_gone("controllerrevisions", name)
