"""A cluster with people, controllers and the operator in it, and what must hold of it at any moment and at rest."""

import copy
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from fakes.cluster import Body
from fakes.controllers import Controllers
from fakes.operator_in_memory import OperatorInMemory
from fakes.settled import Settled, desired_replicas, image_of, is_readable, is_upgrade_held
from fakes.versions_seen import VersionsSeen
from fakes.virtual_time import VirtualLoop
from fakes.watched_cluster import WatchedCluster
from model_builders import model_body
from neuron_operator.cluster import Ref
from neuron_operator.indices import CHILD_KINDS, HPA, Key
from neuron_operator.names import ANNOTATION_ROLLOUT, API_VERSION, KIND, LABEL_MODEL
from neuron_operator.revisions import revision_of
from rollout_world import NAMESPACE, SETTINGS, START, is_ready

NAMES = ("one", "two", "three")
ROUND_S, STEPS_IN_A_ROUND, QUIET_ROUNDS, LONGEST_ROUNDS = 60.0, 3, 4, 100
# A field that is left to somebody is tried again after ten minutes.
ROUNDS_OF_A_CONFLICT = 12
WRITES_FOR_A_CHANGE = 6
TARGETS = {"Deployment": "apps/v1", KIND: API_VERSION}
RIGHT: Body = {"placement": {"instanceTypes": ["inf2.48xlarge"]}, "neuronCores": 2}
RIGHT_ARTIFACT: Body = {"uri": "s3://models/right/"}
SOMEBODY = {"apiVersion": "v1", "kind": "Application", "name": "somebody", "uid": "somebody", "controller": True}


@dataclass
class StatefulWorld:
    core_counts: tuple[int, ...]
    api: WatchedCluster = field(default_factory=WatchedCluster)
    loop: VirtualLoop = field(default_factory=VirtualLoop)
    violations: list[str] = field(default_factory=list)
    # Replicas that were asked for, and how many of them may be down, since the operator was last up to date.
    asked: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    # Models whose pods or children somebody took away.
    disturbed: set[str] = field(default_factory=set)
    # Models whose template may hold an edit by hand: where its revision is lost, it is taken from the Deployment.
    edited: set[str] = field(default_factory=set)
    decided: dict[str, tuple[str, str]] = field(default_factory=dict)
    # Of the operator.
    release: int = 1

    def __post_init__(self) -> None:
        self.controllers = Controllers(self.core_counts, api=self.api)
        self.operator = OperatorInMemory(self.api, SETTINGS, self.now)
        self.versions = VersionsSeen(self.api, self.violations, edited=self.edited)
        self.api.asked, self.api.applied = self._judge_apply, self.versions.applied
        self.loop.finish(self.operator.start())
        self.step(lambda: None)

    def now(self) -> datetime:
        return START + timedelta(seconds=self.loop.time())

    def close(self) -> None:
        self.loop.finish(self.operator.kill())
        self.loop.close()

    # ---- people

    def model(self, name: str) -> Body | None:
        """The model, unless it is being deleted."""
        body = self.api.find(KIND, NAMESPACE, name)
        return body if body is not None and "deletionTimestamp" not in body["metadata"] else None

    def create(self, name: str, **spec: Any) -> None:
        if self.api.find(KIND, NAMESPACE, name) is None:
            body = model_body(name, NAMESPACE, **RIGHT | {"rollout": {"progressDeadlineSeconds": 120}} | spec)
            del body["metadata"]["uid"]
            self._ask(body)

    def edit(self, name: str, changed: Body) -> None:
        body = self.model(name)
        if body is not None:
            self._ask({**body, "spec": {**body["spec"], **changed}})

    def correct(self, name: str) -> None:
        self.edit(name, {**RIGHT, "artifact": RIGHT_ARTIFACT})

    def delete(self, name: str, how: str) -> None:
        body = self.model(name)
        if body is None:
            return
        self._disturb(name)
        self.versions.forget(name)
        if how == "Foreground":
            self._mark_deleted(body)
            return
        if how == "Orphan":
            for child in self.children(name):
                self.api.put({**child, "metadata": {**child["metadata"], "ownerReferences": []}})
        self.api.remove(Ref(KIND, NAMESPACE, name))

    def edit_child(self, name: str, number: int) -> None:
        """By hand: what the operator has to repair."""
        kind, change = EDITS[number]
        for child in self.children(name, kind):
            self._disturb(name)
            if change is _set_image:
                self.edited.add(name)
            edited = copy.deepcopy(child)
            change(edited)
            self.api.put(edited)

    def delete_child(self, name: str, number: int, how: str) -> None:
        for child in self.children(name, CHILD_KINDS[number % len(CHILD_KINDS)]):
            self._disturb(name)
            if how == "Foreground":
                self._mark_deleted(child)
                continue
            if how == "Orphan" and child["kind"] == "Deployment":
                self.controllers.orphan_pods(name)
            self.api.remove(Ref.of(child))
        self.step(lambda: None)

    def occupy(self, name: str) -> None:
        """A Service of somebody else has the name."""
        if self.api.find("Service", NAMESPACE, name) is None:
            self.api.put({"kind": "Service", "metadata": {"name": name, "namespace": NAMESPACE}, "spec": {}})

    def aim_autoscaler(self, name: str, kind: str) -> None:
        """It scales nothing until `autoscale`."""
        spec = {"scaleTargetRef": {"apiVersion": TARGETS[kind], "kind": kind, "name": name}, "maxReplicas": 4}
        self.api.put({"kind": HPA, "metadata": {"name": f"{name}-hpa", "namespace": NAMESPACE}, "spec": spec})

    def remove_autoscaler(self, name: str) -> None:
        if self.api.find(HPA, NAMESPACE, f"{name}-hpa") is not None:
            self.api.remove(Ref(HPA, NAMESPACE, f"{name}-hpa"))

    def autoscale(self, name: str, replicas: int) -> None:
        """What it aims at gets so many replicas."""
        autoscaler = self.api.find(HPA, NAMESPACE, f"{name}-hpa")
        if autoscaler is None:
            return
        if autoscaler["spec"]["scaleTargetRef"]["kind"] == KIND:
            self.edit(name, {"replicas": replicas})
        for child in self.children(name, "Deployment") if autoscaler["spec"]["scaleTargetRef"]["kind"] != KIND else ():
            self._disturb(name)
            self.api.put({**child, "spec": {**child["spec"], "replicas": replicas}})

    def children(self, name: str, kind: str = "") -> list[Body]:
        """By name: the label may be lost, and the owner."""
        return [
            body
            for child_kind in ([kind] if kind else CHILD_KINDS)
            for body in self.api.every(child_kind)
            if body["metadata"]["name"].partition("-")[0] == name
        ]

    # ---- the cluster

    def step(self, action: Callable[[], object]) -> None:
        self.controllers.now = self.now()
        action()
        self.controllers.publish()

    def step_all(self) -> None:
        self.step(self.controllers.collect_garbage)
        for name in NAMES:
            self.control(name)
        self.step(self.controllers.schedule)
        self.step(self.controllers.run_pods)

    def control(self, name: str) -> None:
        """One model's Deployment takes a step; it takes down no more than was ever allowed."""
        before = self.controllers.ready(name)
        self.step(lambda: self.controllers.control(name))
        asked = self.asked[name]
        if not asked or name in self.disturbed:
            return
        least = min(replicas for replicas, _ in asked) - max(down for _, down in asked)
        ready = self.controllers.ready(name)
        if ready < min(before, least):
            self.violations.append(f"{name} had {before} ready, has {ready}, and {least} must stay: {asked}")

    def lose_pod(self, number: int, how: str) -> None:
        names = [name for name, pod in self.controllers.pods.items() if is_ready(pod)]
        if names:
            self.step(lambda: getattr(self.controllers, how)(names[number % len(names)]))

    def change_node(self, number: int, how: str) -> None:
        index, controllers = number % len(self.core_counts), self.controllers
        changes: dict[str, Callable[[], object]] = {
            "down": lambda: controllers.fail_node(index),
            "up": lambda: controllers.down.discard(index),
            "cordon": lambda: controllers.cordoned.add(index),
            "uncordon": lambda: controllers.cordoned.discard(index),
        }
        self.step(changes[how])

    def remove_foreign_pods(self) -> None:
        for name in [name for name in self.controllers.pods if name.startswith("foreign")]:
            self.controllers.remove(name)
        self.step(lambda: None)

    def limit_pods(self, count: int) -> None:
        """The namespace's quota lets so many pods exist; those that are there stay."""
        self.controllers.quota = count

    def limit_children(self, kind: str) -> None:
        """The namespace's quota is full of that kind."""
        self.api.full.add(kind)

    def lift_quotas(self) -> None:
        self.controllers.quota = None
        self.api.full.clear()

    # ---- the operator

    def elapse(self, seconds: float) -> None:
        self.loop.elapse(seconds)
        for name in NAMES if seconds > 1 else ():
            if self._is_up_to_date(name):
                del self.asked[name][:-1]
                self.versions.is_up_to_date(name)

    def restart_operator(self, release: int | None = None) -> None:
        """The next one may be of another release, which runs new models on another image."""
        self.loop.finish(self.operator.kill())
        if release is not None and release != self.release:
            self.release = release
            self.operator.settings = SETTINGS.model_copy(update={"runtime_image": image_of(release)})
            self.versions.release()
        self.loop.finish(self.operator.start())

    def release_watch(self, number: int, *, is_listed: bool) -> None:
        kind = sorted(self.operator.held)[number % len(self.operator.held)]
        if is_listed:
            self.operator.relist(kind)
        else:
            self.operator.release(kind)

    # ---- what must hold

    def check(self) -> None:
        assert not self.operator.bugs, self.operator.bugs
        assert not self.violations, self.violations

    def settle(self) -> None:
        """Nothing more happens from outside, until nothing changed for longer than anybody's patience."""
        for kind in list(self.operator.held):
            self.operator.release(kind)
        quiet = rounds = 0
        while quiet < (ROUNDS_OF_A_CONFLICT if self._has_conflict() else QUIET_ROUNDS):
            before = self.api.changes
            for _ in range(STEPS_IN_A_ROUND):
                self.step_all()
                self.loop.elapse(2.0)
            self.loop.elapse(ROUND_S)
            self.check()
            quiet = quiet + 1 if self.api.changes == before else 0
            rounds += 1
            assert rounds < LONGEST_ROUNDS, f"never settles: {self.api.writes[-20:]}"
        self.disturbed.clear()
        for name, asked in self.asked.items():
            del asked[:-1]
            self.versions.is_up_to_date(name)

    def check_settled(self) -> None:
        settled = Settled(self.api, self.controllers, self.release, self.edited)
        for body in self.api.every(KIND):
            settled.check_model(body)
        most = 50 + WRITES_FOR_A_CHANGE * self.api.changes + self.api.refusals
        assert len(self.api.writes) <= most, f"{len(self.api.writes)} writes for {self.api.changes} changes"
        written, changes = len(self.api.writes), self.api.changes
        models = self.api.every(KIND)
        refused = {
            m["metadata"]["name"]
            for m in models
            if settled.may_be_refused(m) or settled.is_name_taken(m) or is_upgrade_held(m)
        }
        self.restart_operator()
        self.loop.elapse(ROUND_S)
        # Whether a name is free again, or the quota is raised, is found out by trying.
        needless = [write for write in self.api.writes[written:] if write[2].partition("-")[0] not in refused]
        assert self.api.changes == changes, f"a second look changes something: {self.api.writes[written:]}"
        assert not needless, f"a second look writes: {needless}"

    # ---- what it is made of

    def _ask(self, body: Body) -> None:
        name = body["metadata"]["name"]
        self.api.put(body)
        if is_readable(body):
            down = body["spec"].get("rollout", {}).get("maxUnavailable", 1)
            self.asked[name].append((desired_replicas(body), down))
            self.versions.ask(name, body["spec"])
        self.decided.pop(name, None)

    def _disturb(self, name: str) -> None:
        self.disturbed.add(name)
        self.versions.forget_notes(name)

    def _mark_deleted(self, body: Body) -> None:
        self.api.put({**body, "metadata": {**body["metadata"], "deletionTimestamp": self.now().isoformat()}})

    def _is_up_to_date(self, name: str) -> bool:
        body, live = self.model(name), self.api.find("Deployment", NAMESPACE, name)
        if body is None or live is None or not is_readable(body):
            return False
        is_current = live["spec"]["replicas"] == desired_replicas(body)
        return is_current and self.operator.has_newest(KIND, Key(NAMESPACE, name))

    def _has_conflict(self) -> bool:
        return any(
            condition["type"] == "ChildConflict"
            for body in self.api.every(KIND)
            for condition in body.get("status", {}).get("conditions", ())
        )

    def _judge_apply(self, body: Body) -> None:
        """What the operator asks for; an Auto rollout that was decided in place never turns into a surge."""
        if body["kind"] == KIND:
            self.violations.append("the operator applies a model")
        if body["kind"] != "Deployment":
            return
        name, replicas = body["metadata"]["name"], body["spec"].get("replicas")
        if replicas is not None and replicas not in [asked for asked, _ in self.asked[name]]:
            self.violations.append(f"{name} gets {replicas} replicas, but was asked for {self.asked[name]}")
        now = (revision_of(body), body["metadata"].get("annotations", {}).get(ANNOTATION_ROLLOUT, ""))
        before = self.decided.get(name)
        # A look that began before the mode was edited may note the former decision after it.
        is_auto = (self.model(name) or {}).get("spec", {}).get("rollout", {}).get("mode", "Auto") == "Auto"
        if is_auto and name not in self.disturbed and before == (now[0], "InPlace") and now[1] == "Surge":
            self.violations.append(f"{name} was to be replaced in place and is to surge now")
        self.decided[name] = now


def _set(*path: str, value: Any) -> Callable[[Body], None]:
    def change(body: Body) -> None:
        for part in path[:-1]:
            body = body.setdefault(part, {})
        body[path[-1]] = copy.deepcopy(value)

    return change


def _set_image(body: Body) -> None:
    body["spec"]["template"]["spec"]["containers"][0]["image"] = "example.com/edited:1"


EDITS: tuple[tuple[str, Callable[[Body], None]], ...] = (
    ("Deployment", _set("spec", "replicas", value=5)),
    ("Deployment", _set_image),
    ("Deployment", _set("spec", "strategy", "rollingUpdate", "maxSurge", value=2)),
    ("Deployment", _set("metadata", "annotations", value={})),
    ("Deployment", _set("metadata", "ownerReferences", value=[])),
    ("Deployment", lambda body: body["metadata"].get("labels", {}).pop(LABEL_MODEL, None)),
    ("Service", _set("spec", "ports", value=[{"name": "http", "port": 81, "protocol": "TCP"}])),
    ("Service", _set("metadata", "ownerReferences", value=[SOMEBODY])),
    ("PodDisruptionBudget", _set("spec", "maxUnavailable", value=0)),
    ("PodDisruptionBudget", lambda body: body["metadata"].get("labels", {}).pop(LABEL_MODEL, None)),
    ("ControllerRevision", lambda body: body["metadata"].get("labels", {}).pop(LABEL_MODEL, None)),
    ("ControllerRevision", _set("metadata", "ownerReferences", value=[])),
)
