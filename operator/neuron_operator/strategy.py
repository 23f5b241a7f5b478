"""The rollout strategy of one model's Deployment: the user's, the recorded one, or one that must be planned. Pure.

`plan.py` asks for it with what the indices hold; only what `rollout.py` has to plan needs a look at the whole cluster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from neuron_operator.api import NeuronModel
from neuron_operator.claims import claim_of
from neuron_operator.names import ANNOTATION_ROLLOUT
from neuron_operator.observe import ObservedPod, parse_time
from neuron_operator.revisions import ANNOTATION_REVISION, Frozen
from neuron_operator.rollout import (
    PATIENCE,
    Replacement,
    Strategy,
    downtime_note,
    interruption_note,
    recorded_strategy,
)
from neuron_operator.versions import Version

Body = dict[str, Any]


@dataclass(frozen=True)
class Rollout:
    """A template on its way to the pods of a model."""

    model: NeuronModel
    frozen: Frozen
    deployment: Mapping[str, Any] | None
    pods: Sequence[ObservedPod]

    @property
    def settled(self) -> Strategy | None:
        """The strategy that needs no planning; the first row that applies.

        | situation                                            | answer        |
        |------------------------------------------------------|---------------|
        | a mode other than Auto                               | the mode      |
        | decided before for this template                     | what it was   |
        | no replica is wanted, or none holds cores that is of | in place      |
        | another template                                     |               |
        | otherwise                                            | none          |
        """
        mode = self.model.spec.rollout.mode
        if mode != "Auto":
            return mode
        recorded = recorded_strategy(self.deployment, self.frozen.name)
        return recorded or (None if self._replaced and self.model.spec.desired_replicas else "InPlace")

    @property
    def is_to_be_planned(self) -> bool:
        """Nothing is decided yet, or the surge that was decided finds no node."""
        if self.model.spec.rollout.mode != "Auto":
            return False
        return self.settled is None or bool(self.settled == "Surge" and self._waiting and self._replaced)

    def note(self, strategy: Strategy) -> str:
        """What the replacement means for requests, where there is something to replace, and what the next one would."""
        rollout, replicas = self.model.spec.rollout, self.model.spec.desired_replicas
        is_first = self.frozen.revision["revision"] == 1
        now = "" if is_first else downtime_note(strategy, replicas, rollout.max_unavailable)
        return "; ".join(filter(None, (now, interruption_note(rollout.mode, replicas))))

    def replacement(self, now: datetime) -> Replacement:
        """What is to be planned; a surge whose pod has no node is planned again."""
        spec, template = self.model.spec, self.frozen.template
        claim = claim_of(template)
        assert claim is not None, "every template asks for NeuronCores"
        waits_since = [parse_time(pod.unschedulable_since) or now for pod in self._waiting]
        return Replacement(
            namespace=self.model.namespace,
            model=self.model.name,
            revision=self.frozen.name,
            new=claim,
            replicas=spec.desired_replicas,
            max_unavailable=spec.rollout.max_unavailable,
            is_loss_accepted=spec.rollout.accept_core_loss or spec.placement.priority_class_name is not None,
            is_priority_kept=self._is_priority_kept,
            unschedulable_since=min(waits_since) if self.settled is not None else None,
            patience=PATIENCE + self._longest_end,
        )

    @property
    def _is_priority_kept(self) -> bool:
        """Taken for lost where the Deployment is gone and has left its pods behind: nobody knows what it gave them."""
        return self.deployment is not None and "priorityClassName" not in self.deployment["spec"]["template"]["spec"]

    @property
    def _longest_end(self) -> timedelta:
        """Every pod of a surge but the first waits for the cores of an old one, which may take its time to end."""
        if not any(pod.node for pod in self._own_pods):
            return timedelta()
        return timedelta(seconds=self.frozen.template["spec"].get("terminationGracePeriodSeconds", 30))

    @property
    def _own_pods(self) -> list[ObservedPod]:
        return [pod for pod in _living(self.pods) if pod.revision == self.frozen.name]

    @property
    def _replaced(self) -> list[ObservedPod]:
        return _replaced(self.pods, self.frozen.name)

    @property
    def _waiting(self) -> list[ObservedPod]:
        return [pod for pod in self._own_pods if pod.unschedulable_since is not None]


def awaits_its_first_pod(strategy: Strategy, revision: str, pods: Sequence[ObservedPod]) -> bool:
    """Whether it is a surge of which no pod is on a node yet."""
    is_placed = any(pod.node and pod.revision == revision for pod in _living(pods))
    return strategy == "Surge" and bool(_replaced(pods, revision)) and not is_placed


def strategy_of_running(model: NeuronModel, deployment: Mapping[str, Any] | None, revision: str) -> Strategy:
    """Of a template that is kept, whatever comes next."""
    mode = model.spec.rollout.mode
    return mode if mode != "Auto" else recorded_strategy(deployment, revision) or "InPlace"


def with_record(child: Body, strategy: Strategy, version: Version) -> Body:
    """A Deployment that says which template it runs, how that is rolled out, and what is to be remembered of it; other
    children as they are."""
    if child["kind"] != "Deployment":
        return child
    notes = {ANNOTATION_ROLLOUT: strategy, ANNOTATION_REVISION: version.frozen.name, **version.record.annotations()}
    return {**child, "metadata": {**child["metadata"], "annotations": notes}}


def _replaced(pods: Sequence[ObservedPod], revision: str) -> list[ObservedPod]:
    """The replicas of other templates that hold cores."""
    return [pod for pod in _living(pods) if pod.revision != revision and pod.node]


def _living(pods: Sequence[ObservedPod]) -> list[ObservedPod]:
    return [pod for pod in pods if not pod.is_terminating and pod.phase not in ("Succeeded", "Failed")]
