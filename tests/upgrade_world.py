"""Models, releases of the operator and restarts of it on a cluster in memory, where Deployments are completed by hand.

What is under way is counted from the templates that are applied, not from what the operator notes about them.
"""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry

from fakes.cluster import FakeCluster
from model_builders import model_body, settings
from neuron_operator.cluster import Cluster, Ref
from neuron_operator.gate import Gate
from neuron_operator.indices import Indices, Key
from neuron_operator.metrics import Metrics
from neuron_operator.nodes import NodeWatch
from neuron_operator.reconcile import Reconciler
from neuron_operator.revisions import revision_of
from neuron_operator.turns import Turns
from neuron_operator.workqueue import WorkQueue
from neuron_operator.writes import Writer

Body = dict[str, Any]
NOW = datetime(2026, 1, 1, tzinfo=UTC)
AUTOMATIC: Body = {"runtime": {"upgradePolicy": "Automatic"}}
ROLLING_BACK: Body = {"rollout": {"autoRollback": True}}


class GenerationCluster(FakeCluster):
    """Each change of a spec or of annotations is a new generation, as the API server counts those of Deployments; and
    whoever writes lets the others run, as on a real connection."""

    async def apply(self, body: Body, live: Body | None) -> Body:
        await asyncio.sleep(0)
        before = self.objects.get(Ref.of(body))
        applied = await super().apply(body, live)
        is_same = before is not None and _counted(before) == _counted(applied)
        generation = before["metadata"].get("generation", 0) if before is not None else 0
        applied["metadata"]["generation"] = generation if is_same else generation + 1
        return self.put(applied)


@dataclass
class UpgradeWorld:
    """`called` are the keys that the operator put into its queue by itself."""

    release: int = 1
    cluster: GenerationCluster = field(default_factory=GenerationCluster)
    called: list[Key] = field(default_factory=list)
    intents: dict[str, str] = field(default_factory=dict)
    upgrading: set[str] = field(default_factory=set)
    left: list[tuple[str, str]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.restart()

    def restart(self, release: int | None = None) -> None:
        """Another process, which knows what the cluster holds and nothing else."""
        self.release = release or self.release
        self.indices, gate, cluster = Indices(), Gate(), self.cluster
        gate.open()
        for body in self.cluster.objects.values():
            self.indices.put(body["kind"], body)
        asked: Cluster = cluster
        nodes = NodeWatch(asked, self.indices, WorkQueue[Key]())
        writer = Writer(asked, self.indices, gate, Metrics(CollectorRegistry()))
        given = settings(runtime_image=f"runtime:{self.release}")
        self.turns = Turns(self.called.append)
        self.reconciler = Reconciler(self.indices, writer, nodes, given, lambda: NOW, self.turns)
        self.called.clear()

    def add(self, name: str, **spec: Any) -> None:
        self.write(model_body(name, **spec))

    def edit(self, name: str, **spec: Any) -> None:
        body = self.model(name)
        metadata = {**body["metadata"], "generation": body["metadata"]["generation"] + 1}
        self.write({**body, "metadata": metadata, "spec": {**body["spec"], **spec}})

    def remove(self, name: str) -> None:
        self.indices.drop("NeuronModel", self.cluster.objects.pop(Ref("NeuronModel", "shop", name)))

    def write(self, body: Body) -> None:
        self.indices.put(body["kind"], self.cluster.put(body))

    async def reconcile(self, *models: str) -> list[tuple[str, str]]:
        """The models at the same time; what was asked of the cluster."""
        self.cluster.calls.clear()
        before = {name: self._running(name) for name in models}
        await asyncio.gather(*(self.reconciler.reconcile(Key("shop", name)) for name in models))
        for name in models:
            self._follow(name, before[name])
        return self.cluster.calls

    async def work(self, *models: str) -> None:
        """Look at the models, and then at whatever the operator calls, until it calls nothing any more."""
        await self.reconcile(*models)
        for _ in range(50):
            if not self.called:
                return
            called = {key.name for key in self.called}
            self.called.clear()
            await self.reconcile(*sorted(called))
        raise AssertionError(f"the operator never stops calling {called}")

    def has_status(self, name: str, available: int, *, is_late: bool = False) -> None:
        """As the Deployment controller tells it of the newest generation: all pods are of the newest template."""
        live = self.deployment(name)
        replicas = live["spec"]["replicas"]
        progress = {"type": "Progressing", "status": "False" if is_late else "True", "lastTransitionTime": "2026-01-01"}
        progress["reason"] = "ProgressDeadlineExceeded" if is_late else "ReplicaSetUpdated"
        counts = {"replicas": replicas, "updatedReplicas": replicas, "availableReplicas": available}
        status = {"observedGeneration": live["metadata"]["generation"], **counts, "conditions": [progress]}
        self.write({**live, "status": status | {"readyReplicas": available}})

    async def completes(self, name: str) -> None:
        """Every replica of the newest template is available, and the operator works on whatever follows."""
        told: int | None = None
        while told != (told := self.deployment(name)["metadata"]["generation"]):
            self.complete(name)
            await self.work(name)

    def complete(self, name: str) -> None:
        self.has_status(name, self.deployment(name)["spec"]["replicas"])
        self.upgrading.discard(name)

    def deployment(self, name: str) -> Body:
        return self.cluster.objects[Ref("Deployment", "shop", name)]

    def model(self, name: str) -> Body:
        return self.cluster.objects[Ref("NeuronModel", "shop", name)]

    def image(self, name: str) -> str:
        return str(self.deployment(name)["spec"]["template"]["spec"]["containers"][0]["image"])

    def images(self) -> dict[str, str]:
        return {ref.name: self.image(ref.name) for ref in self.cluster.objects if ref.kind == "Deployment"}

    def artifact(self, name: str) -> str:
        """What the pods fetch."""
        return str(self.deployment(name)["spec"]["template"]["spec"]["initContainers"][0]["args"][1])

    def notes(self, name: str) -> dict[str, str]:
        """What is noted on the Deployment, by the ends of the names."""
        found = self.deployment(name)["metadata"]["annotations"]
        return {key.partition("/")[2]: value for key, value in found.items()}

    def condition(self, name: str, kind: str = "Ready") -> Body:
        found: Body = next(c for c in self.model(name)["status"]["conditions"] if c["type"] == kind)
        return found

    def conditions(self, name: str) -> set[str]:
        return {condition["type"] for condition in self.model(name)["status"]["conditions"]}

    def revisions(self, name: str) -> dict[str, int]:
        """Their numbers, by the image they hold."""
        return {
            body["data"]["template"]["spec"]["containers"][0]["image"]: body["revision"]
            for ref, body in self.cluster.objects.items()
            if ref.kind == "ControllerRevision" and ref.name.startswith(f"{name}-")
        }

    def _running(self, name: str) -> str:
        live = self.cluster.objects.get(Ref("Deployment", "shop", name))
        return revision_of(live["spec"]["template"]) if live is not None else ""

    def _follow(self, name: str, before: str) -> None:
        """A new template for the same spec is an upgrade or the way back from something."""
        intent, after = str(self.model(name)["spec"]["artifact"]), self._running(name)
        if after != before and before:
            if intent == self.intents.get(name):
                self.left.append((name, before))
                if self.deployment(name)["spec"]["replicas"]:
                    self.upgrading.add(name)
            else:
                self.upgrading.discard(name)
        self.intents[name] = intent


def _counted(body: Body) -> tuple[object, object]:
    return body.get("spec"), body["metadata"].get("annotations")
