"""Judges what models need of a cluster around them: one finding for each check, always all of them. Pure.

| check                 | passes                          | fails                         | unknown                  |
|-----------------------|---------------------------------|-------------------------------|--------------------------|
| NeuronNodes           | a node of a known type          | none                          |                          |
| DevicePlugin          | each ready one advertises cores | one advertises none           | no ready node            |
| SchedulerExtension    | a usage map, or nobody needs it | needed and not there          | no trace of it yet       |
| UsageMaps             | each is what its pods ask for   | one holds more, or is garbled | no map, or pods not read |
| NeuronTaint           | each keeps other pods off       | one is open to all pods       | no ready node            |
| MonitoringDefinitions | both kinds are served           | one is not                    | the API can't be read    |

A message names no count and no time: it says the same for as long as the cause is the same.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from neuron_operator import names
from neuron_operator.capacity import cores_in_use, has_stale_map, listed
from neuron_operator.observe import ObservedNode
from neuron_operator.preflight.surroundings import DEFAULT_SCHEDULER, ModelPod, Surroundings, suspects
from neuron_operator.taints import untolerated

MONITORING_API: Final = "monitoring.coreos.com/v1"
DEFINITIONS: Final = ("PodMonitor", "ServiceMonitor")
# Taints that Kubernetes sets for a while; they reserve a node for nobody.
PASSING_TAINTS: Final = ("node.kubernetes.io/", "node.cloudprovider.kubernetes.io/")


class Check(StrEnum):
    NEURON_NODES = "NeuronNodes"
    DEVICE_PLUGIN = "DevicePlugin"
    SCHEDULER_EXTENSION = "SchedulerExtension"
    USAGE_MAPS = "UsageMaps"
    NEURON_TAINT = "NeuronTaint"
    MONITORING_DEFINITIONS = "MonitoringDefinitions"

    @property
    def is_advice(self) -> bool:
        """Whether models serve just as well while it fails."""
        return self in (Check.NEURON_TAINT, Check.MONITORING_DEFINITIONS)


class Outcome(StrEnum):
    PASSED = "pass"
    FAILED = "fail"
    UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """What one check found: `what` happened on which `nodes`, and the next step."""

    check: Check
    outcome: Outcome
    what: str
    next_step: str = ""
    nodes: tuple[str, ...] = ()

    @property
    def message(self) -> str:
        where = f" on {listed(self.nodes)}" if self.nodes else ""
        return f"{self.what}{where}. {self.next_step}".rstrip()


def check(found: Surroundings) -> tuple[Finding, ...]:
    """One finding for each check, in their order."""
    return (
        _neuron_nodes(found),
        _device_plugin(found),
        _scheduler_extension(found),
        _usage_maps(found),
        _neuron_taint(found),
        _monitoring_definitions(found),
    )


def table(findings: Sequence[Finding]) -> str:
    """For people: a line for each check, those that fail with what to do."""
    width = max(len(check) for check in Check)
    lines = [f"{'CHECK':<{width}}  RESULT   WHAT", *(_row(finding, width) for finding in findings)]
    return "\n".join(lines) + "\n"


def has_failed(findings: Iterable[Finding]) -> bool:
    """Whether anything that models need fails; advice does not count."""
    return any(finding.outcome is Outcome.FAILED and not finding.check.is_advice for finding in findings)


def _row(finding: Finding, width: int) -> str:
    is_advised = finding.check.is_advice and finding.outcome is Outcome.FAILED
    return f"{finding.check:<{width}}  {'advice' if is_advised else finding.outcome:<7}  {finding.message}"


def _neuron_nodes(found: Surroundings) -> Finding:
    if found.nodes:
        types = sorted({node.instance_type or "an unknown type" for node in found.nodes})
        return Finding(Check.NEURON_NODES, Outcome.PASSED, f"There are nodes of {', '.join(types)}")
    return Finding(
        Check.NEURON_NODES,
        Outcome.FAILED,
        "The cluster has no Neuron node",
        f"Add a node group or a Karpenter NodePool of inf2 types, known by the label {names.LABEL_INSTANCE_TYPE}; "
        "where nodes are started on demand, there is one once a model waits for it.",
    )


def _device_plugin(found: Surroundings) -> Finding:
    usable = [node for node in found.nodes if node.is_usable]
    if not usable:
        return Finding(Check.DEVICE_PLUGIN, Outcome.UNKNOWN, "No Neuron node is ready and open for pods")
    without = [node for node in usable if not node.allocatable_cores]
    if not without:
        return Finding(Check.DEVICE_PLUGIN, Outcome.PASSED, f"Each ready Neuron node has {names.RESOURCE_NEURONCORE}")
    return Finding(
        Check.DEVICE_PLUGIN,
        Outcome.FAILED,
        f"No {names.RESOURCE_NEURONCORE} is advertised",
        "Install the Neuron device plugin, or look at its pods: kubectl -n kube-system get pods -l "
        "name=neuron-device-plugin-ds -o wide.",
        _names(without),
    )


def _scheduler_extension(found: Surroundings) -> Finding:
    """AWS's scheduler extension leaves one trace, the usage map on each node that it placed a pod on.

    | what is seen                                                             | answer  |
    |--------------------------------------------------------------------------|---------|
    | a model takes a part of a node's cores, and no scheduler is named        | fail    |
    | a named scheduler has not looked at a model's pod                        | fail    |
    | a model's pod was given a part of a node's cores, and there is no map    | fail    |
    | a node has a map                                                         | pass    |
    | no scheduler is named                                                    | pass    |
    | otherwise                                                                | unknown |
    """
    failure = _extension_failure(found)
    if failure is not None:
        return failure
    if any(node.core_usage for node in found.nodes):
        return Finding(Check.SCHEDULER_EXTENSION, Outcome.PASSED, "The extension has left its usage map")
    if not found.scheduler_name:
        what = "No scheduler is named, and no model needs AWS's extension"
        return Finding(Check.SCHEDULER_EXTENSION, Outcome.PASSED, what)
    return Finding(
        Check.SCHEDULER_EXTENSION,
        Outcome.UNKNOWN,
        f"Scheduler {found.scheduler_name} is named, and no node has a usage map yet: its extension writes one when it "
        "places a pod",
    )


def _extension_failure(found: Surroundings) -> Finding | None:
    if found.unscheduled_models:
        return Finding(
            Check.SCHEDULER_EXTENSION,
            Outcome.FAILED,
            f"Model {found.unscheduled_models[0]} takes a part of a node's cores, and no scheduler is named for it",
            "Install AWS's Neuron scheduler extension and set neuron.schedulerName in the chart, or "
            "spec.placement.schedulerName.",
        )
    overlooked = [pod for pod in found.pods if not pod.is_looked_at and pod.scheduler != DEFAULT_SCHEDULER]
    if overlooked:
        return Finding(
            Check.SCHEDULER_EXTENSION,
            Outcome.FAILED,
            f"Scheduler {overlooked[0].scheduler} has not looked at pod {overlooked[0].name}",
            "Correct the scheduler's name, or see that it runs: kubectl -n kube-system get pods.",
        )
    unmapped = _unmapped(found.nodes, found.pods)
    if not unmapped:
        return None
    return Finding(
        Check.SCHEDULER_EXTENSION,
        Outcome.FAILED,
        "A model's pod takes a part of the cores and the scheduler that placed it has no Neuron extension, so nothing "
        f"makes them neighbors: there is no {names.ANNOTATION_CORE_USAGE}",
        "Name a scheduler that runs AWS's Neuron scheduler extension.",
        unmapped,
    )


def _unmapped(nodes: Iterable[ObservedNode], pods: Iterable[ModelPod]) -> tuple[str, ...]:
    """Nodes on which a model's pod has more than one core and fewer than all, without a map of the extension."""
    given = {(pod.node, pod.cores) for pod in pods if pod.cores > 1}
    without = {node.name: node.allocatable_cores for node in nodes if not node.core_usage}
    return tuple(sorted({name for name, cores in given if cores < without.get(name, 0)}))


def _usage_maps(found: Surroundings) -> Finding:
    mapped = [node for node in found.nodes if node.core_usage and node.allocatable_cores]
    if not mapped:
        return Finding(Check.USAGE_MAPS, Outcome.UNKNOWN, "No node has a usage map of the scheduler extension")
    remove = f"kubectl annotate node NAME {names.ANNOTATION_CORE_USAGE}- {names.ANNOTATION_DEVICE_USAGE}-"
    asked = found.requests or {}
    stale = [node for node in mapped if node.name in asked and has_stale_map(node, asked[node.name])]
    if stale:
        return Finding(
            Check.USAGE_MAPS,
            Outcome.FAILED,
            f"{names.ANNOTATION_CORE_USAGE} holds cores that no pod asks for",
            f"Remove the maps of each, and the extension makes them anew: {remove}.",
            _names(stale),
        )
    unreadable = [node for node in mapped if cores_in_use(node) is None]
    if unreadable:
        return Finding(
            Check.USAGE_MAPS,
            Outcome.FAILED,
            f"{names.ANNOTATION_CORE_USAGE} is not one true or false for each core, so no rollout counts on neighbors",
            f"If it is broken, remove it and the extension makes it anew: {remove}.",
            _names(unreadable),
        )
    if found.requests is None and suspects(found):
        return Finding(Check.USAGE_MAPS, Outcome.UNKNOWN, "The pods on the nodes with usage maps can't be read")
    return Finding(Check.USAGE_MAPS, Outcome.PASSED, "Each usage map holds what the pods on its node ask for")


def _neuron_taint(found: Surroundings) -> Finding:
    usable = [node for node in found.nodes if node.is_usable]
    if not usable:
        return Finding(Check.NEURON_TAINT, Outcome.UNKNOWN, "No Neuron node is ready and open for pods")
    open_to_all = [node for node in usable if not _is_reserved(node)]
    if not open_to_all:
        return Finding(Check.NEURON_TAINT, Outcome.PASSED, "Each ready Neuron node keeps other pods off by a taint")
    return Finding(
        Check.NEURON_TAINT,
        Outcome.FAILED,
        "Pods that need no NeuronCore may fill the CPU and memory",
        f"Reserve them: kubectl taint node NAME {names.TAINT_NEURON}=true:NoSchedule, or in their node group; models "
        "tolerate it.",
        _names(open_to_all),
    )


def _is_reserved(node: ObservedNode) -> bool:
    return any(not taint["key"].startswith(PASSING_TAINTS) for taint in untolerated(node.taints, ()))


def _monitoring_definitions(found: Surroundings) -> Finding:
    if found.definitions is None:
        return Finding(Check.MONITORING_DEFINITIONS, Outcome.UNKNOWN, f"{MONITORING_API} can't be read")
    missing = [kind for kind in DEFINITIONS if kind not in found.definitions]
    if not missing:
        return Finding(Check.MONITORING_DEFINITIONS, Outcome.PASSED, f"{' and '.join(DEFINITIONS)} are served")
    return Finding(
        Check.MONITORING_DEFINITIONS,
        Outcome.FAILED,
        f"The API server knows no {' and no '.join(missing)} ({MONITORING_API})",
        "Install the definitions of the Prometheus Operator before metrics.serviceMonitor or metrics.podMonitor is "
        "enabled in the chart; without them, scrape the Services and pods directly.",
    )


def _names(nodes: Iterable[ObservedNode]) -> tuple[str, ...]:
    return tuple(sorted(node.name for node in nodes))
