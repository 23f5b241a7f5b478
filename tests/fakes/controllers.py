"""The controllers around the operator, each as one step: Deployments and their pods, scheduler, kubelets, garbage.

A RolloutWorld whose objects are those of a WatchedCluster: pods and nodes are copied there after each step.
"""

import json
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from fakes.cluster import Body
from fakes.watched_cluster import WatchedCluster
from neuron_operator.changes import desired_hash
from neuron_operator.cluster import Ref
from neuron_operator.indices import CHILD_KINDS, trimmed
from neuron_operator.names import ANNOTATION_CORE_USAGE, KIND
from neuron_operator.observe import ObservedNode, observe_node
from neuron_operator.plan import controller_of
from observed import condition, container, node, terminated
from rollout_world import NAMESPACE, RolloutWorld, is_ending, is_ready

LABEL_TEMPLATE_HASH = "pod-template-hash"
NOT_FOUND = json.dumps({"reason": "ArtifactNotFound", "message": "no such bundle", "hint": "Correct the address."})
# In the address of an artifact that no pod can fetch.
MISSING = "missing"
QUOTA = 'pods "{name}-{number}" is forbidden: exceeded quota: pods, requested: pods=1, used: {used}, limited: {limit}'


@dataclass
class Progress:
    """What the Deployment controller remembers of a rollout."""

    template: str = ""
    figures: tuple[int, ...] = ()
    since: str = ""
    is_complete: bool = False
    is_late: bool = False


@dataclass
class Controllers(RolloutWorld):
    api: WatchedCluster = field(default_factory=WatchedCluster)
    cordoned: set[int] = field(default_factory=set)
    # How many pods the namespace may hold, those of others counted.
    quota: int | None = None
    _progress: dict[str, Progress] = field(default_factory=dict)
    _refused: dict[str, Body] = field(default_factory=dict)

    def _deployment(self, name: str) -> Body | None:
        return self.api.find("Deployment", NAMESPACE, name)

    def of(self, name: str) -> list[Body]:
        """Those that the Deployment counts: neither ending nor failed, and its own."""
        live = self._deployment(name)
        uid = live["metadata"]["uid"] if live is not None else ""
        return [pod for pod in super().of(name) if pod["status"]["phase"] != "Failed" and _owner_uid(pod) == uid]

    def publish(self) -> None:
        """Pods and nodes, as everybody sees them."""
        for index in range(len(self.core_counts)):
            self.api.put(self._api_node(index))
        for ref in [ref for ref in self.api.objects if ref.kind == "Pod" and ref.name not in self.pods]:
            self.api.remove(ref)
        for pod in self.pods.values():
            parts = {name: dict(part) for name, part in pod.items()}
            self.api.put({"apiVersion": "v1", "kind": "Pod", **parts})

    # ---- Deployments

    def control(self, name: str) -> None:
        live = self._deployment(name)
        if live is None or "deletionTimestamp" in live["metadata"]:
            return
        for pod in super().of(name):
            if not _owner_uid(pod):
                pod["metadata"]["ownerReferences"] = _owners(live)
        refused = self._refused.pop(name, None)
        super().control(name)
        if refused is not None and name in self._refused:
            # A ReplicaSet that fails on tells what it failed of at first.
            self._refused[name] = refused
        self._scale_down(name, live)
        self._report(name, live)

    def _scale_down(self, name: str, live: Body) -> None:
        """A lower number of replicas stops those of the newest template too, those that aren't ready first."""
        newest = sorted(self._newest(name, live), key=is_ready)
        for pod in newest[: max(0, len(newest) - live["spec"]["replicas"])]:
            self._stop(pod)

    def _newest(self, name: str, live: Body) -> list[Body]:
        template = desired_hash(live["spec"]["template"])
        return [pod for pod in self.of(name) if pod["metadata"]["labels"][LABEL_TEMPLATE_HASH] == template]

    def _is_of(self, pod: Body, live: Body) -> bool:
        return bool(pod["metadata"]["labels"][LABEL_TEMPLATE_HASH] == desired_hash(live["spec"]["template"]))

    def _report(self, name: str, live: Body) -> None:
        pods, newest, wanted = self.of(name), self._newest(name, live), live["spec"]["replicas"]
        figures = (len(pods), len(newest), sum(map(is_ready, pods)))
        progress = self._progress_of(live, figures, is_complete=figures == (wanted, wanted, wanted))
        status = {
            "observedGeneration": live["metadata"]["generation"],
            "replicas": figures[0],
            "updatedReplicas": figures[1],
            "readyReplicas": figures[2],
            "availableReplicas": figures[2],
            "conditions": [
                condition("Progressing", "False", progress.since, reason="ProgressDeadlineExceeded")
                if progress.is_late
                else condition("Progressing", "True", progress.since, reason="Fine"),
                *([self._refused[name]] if name in self._refused else []),
            ],
        }
        self.api.put({**live, "status": status})

    def _progress_of(self, live: Body, figures: tuple[int, ...], *, is_complete: bool) -> Progress:
        uid, template = live["metadata"]["uid"], desired_hash(live["spec"]["template"])
        known = self._progress.get(uid, Progress())
        if known.template != template:
            known = Progress(template, figures, self.now.isoformat())
        elif not known.is_complete and (is_complete or known.figures != figures):
            known = Progress(template, figures, self.now.isoformat(), is_complete)
        elif not known.is_complete and not known.is_late:
            deadline = timedelta(seconds=live["spec"]["progressDeadlineSeconds"])
            if self.now - datetime.fromisoformat(known.since) > deadline:
                known = Progress(template, figures, self.now.isoformat(), is_late=True)
        self._progress[uid] = known
        return known

    # ---- nodes and their pods

    def nodes(self) -> tuple[ObservedNode, ...]:
        return tuple(observe_node(trimmed("Node", self._api_node(index))) for index in range(len(self.core_counts)))

    def run_pods(self) -> None:
        for name, pod in list(self.pods.items()):
            if is_ending(pod):
                self.remove(name)
            elif name in self.cores and self.cores[name][0] not in self.down:
                self._run_pod(pod)

    def crash(self, name: str) -> None:
        """Its container ended; it starts again with the next `run_pods`."""
        self._fail(self.pods[name], terminated(1, since=self.now.isoformat()))

    def evict(self, name: str) -> None:
        """By its node: the pod stays as a witness, its cores are free."""
        self.cores.pop(name, None)
        self.pods[name]["status"] = {"phase": "Failed", "reason": "Evicted", "message": "low on memory"}
        self.pods[name]["status"]["conditions"] = []

    def _run_pod(self, pod: Body) -> None:
        if MISSING in json.dumps(pod["spec"]):
            if not pod["status"].get("containerStatuses"):
                self._fail(pod, terminated(1, message=NOT_FOUND, since=self.now.isoformat()))
        elif not is_ready(pod):
            ready = [condition(kind, "True", self.now.isoformat()) for kind in ("Ready", "ContainersReady")]
            running = container(ready=True, state={"running": {"startedAt": self.now.isoformat()}})
            pod["status"] = {"phase": "Running", "conditions": ready, "containerStatuses": [running]}

    def _fail(self, pod: Body, state: Body) -> None:
        scheduled = [condition("PodScheduled", "True", self.now.isoformat())]
        pod["status"] = {"phase": "Running", "conditions": scheduled}
        pod["status"]["containerStatuses"] = [container(ready=False, state=state)]

    def _api_node(self, index: int) -> Body:
        body = node(f"n{index}", "inf2.48xlarge", self.core_counts[index])
        unused = set(self._unused(index))
        usage = ",".join("false" if core in unused else "true" for core in range(self.core_counts[index]))
        body["metadata"] = {"name": f"n{index}", "labels": body["metadata"]["labels"]}
        body["metadata"]["annotations"] = {ANNOTATION_CORE_USAGE: usage}
        ready = {"type": "Ready", "status": "False" if index in self.down else "True"}
        status = {"allocatable": body["status"]["allocatable"], "conditions": [ready]}
        return {
            "kind": "Node",
            **body,
            "spec": {"unschedulable": index in self.cordoned, "taints": []},
            "status": status,
        }

    def _create(self, owner: str, template: Body, labels: Body) -> None:
        used = sum(pod["status"]["phase"] != "Failed" for pod in self.pods.values())
        if self.quota is not None and used >= self.quota:
            message = QUOTA.format(name=owner, number=self._count + 1, used=used, limit=self.quota)
            failed = condition("ReplicaFailure", "True", self.now.isoformat(), reason="FailedCreate", message=message)
            self._refused[owner] = failed
            return
        super()._create(owner, template, labels)
        pod, live = self.pods[f"{owner}-{self._count}"], self._deployment(owner)
        pod["metadata"]["creationTimestamp"] = self.now.isoformat()
        if live is not None:
            pod["metadata"]["labels"] = {**labels, LABEL_TEMPLATE_HASH: desired_hash(template)}
            pod["metadata"]["ownerReferences"] = _owners(live)

    # ---- garbage

    def orphan_pods(self, name: str) -> None:
        """As the Deployment goes without them."""
        for pod in self.of(name):
            pod["metadata"]["ownerReferences"] = []

    def collect_garbage(self) -> None:
        """What has lost its owner, and what was asked to go once its own children are gone."""
        for name in [name for name, pod in self.pods.items() if self._is_garbage(pod)]:
            self._stop(self.pods[name])
        for kind in CHILD_KINDS:
            for body in self.api.every(kind):
                if self._is_orphaned(body) or "deletionTimestamp" in body["metadata"]:
                    self.api.remove(Ref.of(body))
        for body in self.api.every(KIND):
            if "deletionTimestamp" in body["metadata"]:
                self._finish_deletion(body)

    def _finish_deletion(self, body: Body) -> None:
        """In the foreground: the children first, the model with the next step."""
        children = [child for kind in CHILD_KINDS for child in self.api.every(kind) if _is_child(child, body)]
        for child in children:
            self.api.remove(Ref.of(child))
        if not children:
            self.api.remove(Ref.of(body))

    def _is_garbage(self, pod: Body) -> bool:
        uids = {body["metadata"]["uid"] for body in self.api.every("Deployment")}
        return not is_ending(pod) and bool(_owner_uid(pod)) and _owner_uid(pod) not in uids

    def _is_orphaned(self, body: Body) -> bool:
        owner = controller_of(body)
        if owner is None or owner["kind"] != KIND:
            return False
        model = self.api.find(KIND, NAMESPACE, owner["name"])
        return model is None or bool(model["metadata"]["uid"] != owner["uid"])


def _is_child(child: Body, model: Body) -> bool:
    return bool((controller_of(child) or {}).get("uid") == model["metadata"]["uid"])


def _owner_uid(pod: Body) -> str:
    return str((controller_of(pod) or {}).get("uid", ""))


def _owners(live: Body) -> list[dict[str, Any]]:
    """As if the ReplicaSet between were the Deployment itself."""
    return [
        {"kind": "Deployment", "name": live["metadata"]["name"], "uid": live["metadata"]["uid"], "controller": True}
    ]
