"""What the status of a model is computed from: its plan, its Deployment and pods, what is refused and contended."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from neuron_operator.contention import Conflict, Contention, conflicting_autoscalers
from neuron_operator.indices import HPA, Indices, key_of
from neuron_operator.observe import ObservedDeployment, ObservedPod, observe_deployment, observe_pods
from neuron_operator.plan import Body, Plan, Refusal
from neuron_operator.reasons import Failure
from neuron_operator.revisions import revision_of


@dataclass(frozen=True)
class Situation:
    """Everything the status is computed from. `refusal` is the plan's own, or what the API server answered to it;
    `refused_write` is the latter also where it is not told, because the former is.

    `conflicts` are the fields that are left to others, `autoscalers` those that aim at the Deployment, in words.
    """

    body: Mapping[str, Any]
    plan: Plan
    deployment: ObservedDeployment
    pods: tuple[ObservedPod, ...] = ()
    failure: Failure | None = None
    refusal: Refusal | None = None
    refused_write: Refusal | None = None
    conflicts: tuple[Conflict, ...] = ()
    autoscalers: tuple[str, ...] = ()
    runbook_url: str = ""

    @property
    def newest_pods(self) -> tuple[ObservedPod, ...]:
        """Those of the template that should run; what ails older ones is mended by their replacement."""
        revision = revision_of(self.plan.template) if self.plan.template is not None else ""
        return tuple(pod for pod in self.pods if pod.revision == revision and not pod.is_terminating)

    @property
    def waits_for_a_node(self) -> bool:
        return any(pod.unschedulable_since is not None for pod in self.newest_pods)


def situation_of(
    body: Body,
    plan: Plan,
    refused: Refusal | None,
    indices: Indices,
    contention: Contention,
    runbook_url: str,
    now: datetime,
) -> Situation:
    """As the indices have it now; the failure of its pods is not looked for yet."""
    key = key_of(body)
    live, scaling = indices.get("Deployment", key), indices.of_model(HPA, key)
    return Situation(
        body,
        plan,
        observe_deployment(live),
        observe_pods(indices.of_model("Pod", key)),
        refusal=plan.refusal or refused,
        refused_write=refused,
        conflicts=contention.conflicts(key, body["metadata"].get("generation", 0), now),
        autoscalers=conflicting_autoscalers(live, scaling),
        runbook_url=runbook_url,
    )
