"""A cluster as a rollout sees it: the Deployment controller, the scheduler and the kubelets, each as one pure step.

The objects are those the API server would give, so that the operator's own plan is what rolls out; only time and the
order of the steps are the test's.
"""

from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any

from model_builders import model_body, settings
from neuron_operator.claims import claim_of, claims_of, may_run_on
from neuron_operator.indices import Key
from neuron_operator.ledger import Ledger
from neuron_operator.observe import ObservedNode, observe_node, observe_pods
from neuron_operator.plan import Known, Plan, make_plan
from neuron_operator.revisions import revision_of
from neuron_operator.rollout import Outlook
from observed import node

Body = dict[str, Any]
NAMESPACE = "shop"
START = datetime(2026, 1, 1, tzinfo=UTC)
ROUND, QUIET_ROUNDS = timedelta(seconds=35), 5
SETTINGS = settings(scheduler_name="neuron-scheduler")


@dataclass
class RolloutWorld:
    """`core_counts` are those of the nodes, all inf2.48xlarge by name; pods take runs of neighboring cores."""

    core_counts: tuple[int, ...]
    now: datetime = START
    models: dict[str, Body] = field(default_factory=dict)
    children: dict[str, dict[str, dict[str, Body]]] = field(default_factory=dict)
    pods: dict[str, Body] = field(default_factory=dict)
    cores: dict[str, tuple[int, range]] = field(default_factory=dict)
    down: set[int] = field(default_factory=set)
    plans: dict[str, Plan] = field(default_factory=dict)
    strategies: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    ledger: Ledger = field(default_factory=Ledger)
    _count: int = 0

    def add_model(self, name: str, **spec: Any) -> None:
        self.models[name] = model_body(name, placement={"instanceTypes": ["inf2.48xlarge"]}, **spec)
        self.children[name] = {"Deployment": {}, "ControllerRevision": {}}

    def edit(self, name: str) -> None:
        self._count += 1
        spec = {**self.models[name]["spec"], "artifact": {"uri": f"s3://models/{name}/{self._count}/"}}
        self.models[name] = {**self.models[name], "spec": spec}

    def add_foreign_pod(self, cores: int) -> None:
        asked = {"resources": {"requests": {"aws.amazon.com/neuroncore": str(cores)}}}
        self._create("foreign", {"spec": {"containers": [asked], "tolerations": [{"operator": "Exists"}]}}, {})

    def nodes(self) -> tuple[ObservedNode, ...]:
        return tuple(self._node(index) for index in range(len(self.core_counts)))

    def outlook(self, key: Key) -> Outlook:
        return Outlook(self.nodes(), claims_of(self.pods.values()), self.ledger.others(key), self.now)

    def free_cores(self) -> int:
        return sum(len(self._unused(index)) for index in range(len(self.core_counts)) if index not in self.down)

    def of(self, name: str) -> list[Body]:
        """The pods of a model that are not ending."""
        return [pod for pod in self.pods.values() if _owner(pod) == name and not is_ending(pod)]

    def ready(self, name: str) -> int:
        return sum(map(is_ready, self.of(name)))

    def replicas(self, name: str) -> int:
        return int(self.models[name]["spec"].get("replicas", 1))

    def is_complete(self, name: str) -> bool:
        live = self._deployment(name)
        newest = [pod for pod in self.of(name) if live is not None and revision_of(pod) == revision_of(live)]
        uri = self.models[name]["spec"]["artifact"]["uri"]
        is_current = live is not None and uri in str(live["spec"]["template"])
        return is_current and len(newest) == len(self.of(name)) == self.ready(name) == self.replicas(name)

    # ---- the steps, each of one part of the cluster

    def reconcile(self, name: str) -> None:
        """As reconcile.py does: plan, settle the ledger at once, apply."""
        key = Key(NAMESPACE, name)
        children = {kind: tuple(bodies.values()) for kind, bodies in self.children[name].items()}
        ours = [pod for pod in self.pods.values() if _owner(pod) == name]
        known = Known(self.models[name], children, observe_pods(ours))
        plan = make_plan(known, SETTINGS)
        if plan.needs_outlook:
            plan = make_plan(known, SETTINGS, self.outlook(key))
        self.ledger.settle(key, plan.decision.promise if plan.decision else None, plan.awaited_revision)
        for change in plan.apply:
            if change.body["kind"] in self.children[name]:
                self.children[name][change.body["kind"]][change.body["metadata"]["name"]] = change.body
        self.plans[name] = plan
        live = self._deployment(name)
        if live is not None:
            seen = self.strategies[name, revision_of(live)]
            strategy = live["metadata"]["annotations"]["neuron-serving.dev/rollout"]
            if not seen or seen[-1] != strategy:
                seen.append(strategy)

    def control(self, name: str) -> None:
        """The controller syncs until there is nothing to do; in the moment between a pod and the one that replaces it,
        nobody could know of the latter."""
        before: object = None
        while before != (before := sorted(pod["metadata"]["name"] for pod in self.of(name))):
            self._sync(name)

    def _sync(self, name: str) -> None:
        """One sync of a rolling update: new pods as far as the surge lets, else old ones as far as serving lets."""
        live = self._deployment(name)
        if live is None:
            return
        pods, wanted, numbers = self.of(name), live["spec"]["replicas"], live["spec"]["strategy"]["rollingUpdate"]
        new = [pod for pod in pods if self._is_of(pod, live)]
        missing = min(wanted - len(new), wanted + numbers["maxSurge"] - len(pods))
        for _ in range(missing):
            self._create(name, live["spec"]["template"], live["spec"]["selector"]["matchLabels"])
        if missing > 0:
            return
        old = [pod for pod in pods if pod not in new]
        least = wanted - numbers["maxUnavailable"]
        spare = len(pods) - least - sum(not is_ready(pod) for pod in new)
        unhealthy = [pod for pod in old if not is_ready(pod)][: max(0, spare)]
        healthy = [pod for pod in old if is_ready(pod)][: max(0, self.ready(name) - least)]
        # What never got a node or isn't ready goes first and costs nobody an answer.
        for pod in unhealthy or healthy[: max(0, spare)]:
            self._stop(pod)

    def _is_of(self, pod: Body, live: Body) -> bool:
        """Whether the pod is of the template that the Deployment has now."""
        return revision_of(pod) == revision_of(live)

    def schedule(self, choose: Callable[[int], int] = lambda count: 0) -> None:
        """Oldest pods first, each onto one of the nodes that have a run of as many cores as it asks for."""
        for name in [name for name, pod in self.pods.items() if "nodeName" not in pod["spec"] and not is_ending(pod)]:
            pod = self.pods[name]
            claim = claim_of(pod)
            assert claim is not None
            runs = [
                (index, run)
                for index, found in enumerate(self.nodes())
                if may_run_on(claim, found) and (run := self._run(index, claim.cores)) is not None
            ]
            if runs:
                index, run = runs[choose(len(runs))]
                self.cores[name] = (index, run)
                pod["spec"] = {**pod["spec"], "nodeName": f"n{index}"}
                pod["status"] = {"phase": "Running", "conditions": [_condition("PodScheduled", "True", self.now)]}
            elif not pod["status"]["conditions"]:
                pod["status"]["conditions"] = [_condition("PodScheduled", "False", self.now)]

    def run_pods(self) -> None:
        """What is on a living node becomes ready; what was told to end is gone."""
        for name, pod in list(self.pods.items()):
            if is_ending(pod):
                self.remove(name)
            elif "nodeName" in pod["spec"] and self.cores[name][0] not in self.down:
                pod["status"] = {"phase": "Running", "conditions": [_condition("Ready", "True", self.now)]}

    def fail_node(self, index: int) -> None:
        """Its pods are gone with it, as after an eviction; it is ready again once it is taken out of `down`."""
        self.down.add(index)
        for name in [name for name, (on, _) in self.cores.items() if on == index]:
            self.remove(name)

    def remove(self, name: str) -> None:
        self.pods.pop(name)
        self.cores.pop(name, None)

    def settle(self) -> None:
        """Everything runs and nothing new happens, until nothing changed for longer than any patience."""
        quiet = 0
        while quiet < QUIET_ROUNDS:
            before = self._picture()
            for name in self.models:
                self.reconcile(name)
                self.control(name)
            self.schedule()
            self.run_pods()
            self.now += ROUND
            quiet = quiet + 1 if self._picture() == before else 0

    # ---- what the steps are made of

    def _picture(self) -> object:
        where = {name: pod["spec"].get("nodeName") for name, pod in self.pods.items()}
        return where, {name: self.ready(name) for name in self.models}, dict(self.strategies)

    def _deployment(self, name: str) -> Body | None:
        return self.children[name]["Deployment"].get(name)

    def _node(self, index: int) -> ObservedNode:
        unused, count = set(self._unused(index)), self.core_counts[index]
        body = node(f"n{index}", "inf2.48xlarge", count, ready=index not in self.down)
        usage = ",".join("false" if core in unused else "true" for core in range(count))
        body["metadata"]["annotations"] = {"NEURON_CORE_USAGE_MAP": usage}
        return observe_node(body)

    def _unused(self, index: int) -> list[int]:
        used = {core for on, run in self.cores.values() if on == index for core in run}
        return [core for core in range(self.core_counts[index]) if core not in used]

    def _run(self, index: int, cores: int) -> range | None:
        unused = set(self._unused(index))
        runs = (range(first, first + cores) for first in range(self.core_counts[index] - cores + 1))
        return next((run for run in runs if unused.issuperset(run)), None)

    def _create(self, owner: str, template: Body, labels: Body) -> None:
        self._count += 1
        name = f"{owner}-{self._count}"
        annotations = template.get("metadata", {}).get("annotations", {})
        metadata = {"name": name, "namespace": NAMESPACE, "labels": labels, "annotations": annotations}
        self.pods[name] = {
            "metadata": metadata,
            "spec": dict(template["spec"]),
            "status": {"phase": "Pending", "conditions": []},
        }

    def _stop(self, pod: Body) -> None:
        name = pod["metadata"]["name"]
        if name in self.cores:
            pod["metadata"]["deletionTimestamp"] = self.now.isoformat()
        else:
            self.remove(name)


def is_ready(pod: Body) -> bool:
    return any(c["type"] == "Ready" for c in pod["status"]["conditions"])


def is_ending(pod: Body) -> bool:
    return "deletionTimestamp" in pod["metadata"]


def _owner(pod: Body) -> str:
    return str(pod["metadata"]["labels"].get("neuron-serving.dev/model", ""))


def _condition(kind: str, status: str, now: datetime) -> Body:
    condition = {"type": kind, "status": status, "lastTransitionTime": now.isoformat()}
    return condition | ({"reason": "Unschedulable"} if (kind, status) == ("PodScheduled", "False") else {})
