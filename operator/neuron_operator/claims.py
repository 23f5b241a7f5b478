"""What each pod holds or asks for of a node's NeuronCores, and which nodes it may run on. Pure.

Made from whole pods of anyone, read when a rollout is planned, and from our own pod template; `rollout.py` decides on
it. Only what the Neuron scheduling turns on is looked at: host cpu and memory may still be in the way.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from neuron_operator import names
from neuron_operator.capacity import CORES_PER_DEVICE, free_runs, requests_of
from neuron_operator.observe import ObservedNode
from neuron_operator.revisions import revision_of
from neuron_operator.taints import untolerated


@dataclass(frozen=True)
class Claim:
    """A pod that asks for NeuronCores or whole devices; `node` is empty while it has none."""

    cores: int = 0
    devices: int = 0
    name: str = ""
    namespace: str = ""
    model: str = ""
    revision: str = ""
    node: str = ""
    priority: int = 0
    is_terminating: bool = False
    is_unschedulable: bool = False
    node_selector: Mapping[str, str] = field(default_factory=dict)
    node_terms: Sequence[Mapping[str, Any]] | None = None
    tolerations: Sequence[Mapping[str, Any]] = ()

    def cores_on(self, node: ObservedNode) -> int:
        return self.cores + CORES_PER_DEVICE.get(node.instance_type, 2) * self.devices


def claims_of(pods: Iterable[Mapping[str, Any]]) -> tuple[Claim, ...]:
    """The claims of those pods that have a part in the competition for cores."""
    return tuple(claim for pod in pods if not _is_gated(pod) and (claim := claim_of(pod)) is not None)


def claim_of(pod: Mapping[str, Any]) -> Claim | None:
    """The claim of a pod or a pod template; None if it asks for nothing of Neuron."""
    asked, spec, metadata = requests_of([pod]), pod["spec"], pod.get("metadata", {})
    if not asked.cores and not asked.devices:
        return None
    scheduled = _scheduled(pod)
    affinity = spec.get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution")
    return Claim(
        cores=asked.cores,
        devices=asked.devices,
        name=metadata.get("name", ""),
        namespace=metadata.get("namespace", ""),
        model=metadata.get("labels", {}).get(names.LABEL_MODEL, ""),
        revision=revision_of({"metadata": metadata}),
        node=spec.get("nodeName", ""),
        priority=spec.get("priority", 0),
        is_terminating="deletionTimestamp" in metadata,
        is_unschedulable=scheduled.get("status") == "False" and scheduled.get("reason") == "Unschedulable",
        node_selector=spec.get("nodeSelector", {}),
        node_terms=required["nodeSelectorTerms"] if required else None,
        tolerations=spec.get("tolerations", ()),
    )


def may_run_on(claim: Claim, node: ObservedNode) -> bool:
    """Whether labels and taints let the pod onto the node, cores aside."""
    return (
        node.is_usable
        and all(node.labels.get(key) == value for key, value in claim.node_selector.items())
        and (claim.node_terms is None or any(_matches(term, node) for term in claim.node_terms))
        and not untolerated(node.taints, claim.tolerations)
    )


def gives_neighbors(node: ObservedNode, cores: int) -> bool:
    """Whether that many of the node's free cores are known to be neighbors, as one container needs them.

    | cores                        | known                                                    |
    |------------------------------|----------------------------------------------------------|
    | 1, or all of the node        | always                                                   |
    | between, no usage map        | never                                                    |
    | between, with a usage map    | when the map has a run of that many that are not in use  |
    """
    return cores in (1, node.allocatable_cores) or any(run >= cores for run in free_runs(node))


def _is_gated(pod: Mapping[str, Any]) -> bool:
    return _scheduled(pod).get("reason") == "SchedulingGated"


def _scheduled(pod: Mapping[str, Any]) -> Mapping[str, Any]:
    conditions: Sequence[Mapping[str, Any]] = pod.get("status", {}).get("conditions", ())
    return next((condition for condition in conditions if condition["type"] == "PodScheduled"), {})


def _matches(term: Mapping[str, Any], node: ObservedNode) -> bool:
    return all(_holds(expression, node.labels) for expression in term.get("matchExpressions", ()))


def _holds(expression: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    """What can't be judged here, such as an order of numbers, counts as held: nobody is overlooked by it."""
    value, values = labels.get(expression["key"]), expression.get("values", ())
    return {
        "In": value in values,
        "NotIn": value not in values,
        "Exists": value is not None,
        "DoesNotExist": value is None,
    }.get(expression["operator"], True)
