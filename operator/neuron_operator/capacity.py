"""Counts the NeuronCores that are free on each node, and says in words why a pod can't be placed. Pure.

Cores and devices are two ways to count the same silicon: a pod that asks for whole devices takes their cores too
(AWS's scheduler extension keeps one usage map for each and updates both). Pods of other owners are in `requests`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from neuron_operator import names
from neuron_operator.api.conditions import Reason
from neuron_operator.catalog import CATALOG
from neuron_operator.changes import parse_quantity
from neuron_operator.observe import ObservedNode
from neuron_operator.placement import Placement
from neuron_operator.taints import in_words, untolerated

TAINTS_TOLD = 3
NODES_TOLD = 3

CORES_PER_DEVICE = {instance_type.name: instance_type.cores_per_device for instance_type in CATALOG}


@dataclass(frozen=True)
class Requests:
    """What all pods on one node ask for together."""

    cores: int = 0
    devices: int = 0


@dataclass(frozen=True)
class Capacity:
    """The Neuron nodes, and what is asked of them; `requests` is None while that is unknown. An operator that may not
    read nodes knows none, which says nothing about how many there are."""

    nodes: tuple[ObservedNode, ...] = ()
    requests: Mapping[str, Requests] | None = None
    knows_nodes: bool = True


@dataclass(frozen=True)
class Shortage:
    reason: Reason
    message: str
    hint: str


def requests_of(pods: Iterable[Mapping[str, Any]]) -> Requests:
    cores = devices = 0
    for pod in pods:
        cores += _effective_request(pod["spec"], names.RESOURCE_NEURONCORE)
        devices += _effective_request(pod["spec"], names.RESOURCE_NEURON)
    return Requests(cores, devices)


def is_neuron_node(node: ObservedNode) -> bool:
    return node.instance_type in CORES_PER_DEVICE or node.allocatable_cores > 0


def free_cores(node: ObservedNode, requests: Requests) -> int:
    return max(0, node.allocatable_cores - requested_cores(node, requests))


def requested_cores(node: ObservedNode, requests: Requests) -> int:
    return requests.cores + CORES_PER_DEVICE.get(node.instance_type, 2) * requests.devices


def cores_in_use(node: ObservedNode) -> tuple[bool, ...] | None:
    """Which cores the scheduler extension holds to be in use; None when its map is missing or can't be read.

    AWS documents the annotation's name alone; on nodes it is seen as one true (in use) or false for each core.
    """
    used = node.core_usage.split(",")
    if len(used) != node.allocatable_cores or not set(used) <= {"true", "false"}:
        return None
    return tuple(core == "true" for core in used)


def free_runs(node: ObservedNode) -> Sequence[int]:
    """Lengths of the runs of cores that are not in use by the scheduler extension's map; none without one."""
    in_use = cores_in_use(node) or ()
    return [len(run) for run in "".join(" " if core else "." for core in in_use).split()]


def has_stale_map(node: ObservedNode, requests: Requests) -> bool:
    """Whether the map holds more cores than all pods on the node ask for, as after a restart of the extension."""
    return sum(cores_in_use(node) or ()) > requested_cores(node, requests)


def explain_unschedulable(placement: Placement, capacity: Capacity, waiting: int, scheduler_message: str) -> Shortage:
    """Why `waiting` pods have no node, most specific first.

    | nodes of the wanted types                 | answer                                  |
    |-------------------------------------------|-----------------------------------------|
    | may not be read                           | as if enough were free, unless the      |
    |                                           | scheduler says InsufficientNeuronCores  |
    | none                                      | NoNeuronNodes                           |
    | none with a single NeuronCore             | DevicePluginMissing                     |
    | none with enough free                     | InsufficientNeuronCores                 |
    | enough free, but not by a stale usage map | StaleUsageMap                           |
    | enough free, the scheduler names a taint  | TaintNotTolerated                       |
    | enough free otherwise                     | Unschedulable, in the scheduler's words |
    """
    wanted = [node for node in capacity.nodes if node.instance_type in placement.instance_types]
    if not wanted and capacity.knows_nodes:
        return _no_nodes(placement, capacity.nodes)
    equipped = [node for node in wanted if node.allocatable_cores > 0]
    if not equipped and capacity.knows_nodes:
        return _no_device_plugin(wanted)
    usable = [node for node in equipped if node.is_usable]
    if capacity.requests is None:
        if names.RESOURCE_NEURONCORE in scheduler_message:
            return _too_few_cores(placement, waiting, "")
    elif not any(_free(node, capacity) >= placement.neuron_cores for node in usable):
        return _too_few_cores(placement, waiting, _free_by_type(usable, capacity, placement.neuron_cores))
    stale = _kept_by_stale_map(placement, usable, capacity)
    if stale:
        return _stale_map(placement, stale, waiting)
    if "untolerated taint" in scheduler_message:
        return _tainted(placement, usable, waiting, scheduler_message)
    return Shortage(
        Reason.UNSCHEDULABLE,
        f"The scheduler finds no node for {_pods(waiting)}: {scheduler_message}",
        "Compare spec.resources and spec.placement with the nodes: kubectl describe nodes.",
    )


def _no_nodes(placement: Placement, nodes: Sequence[ObservedNode]) -> Shortage:
    others = sorted({node.instance_type for node in nodes if node.instance_type in CORES_PER_DEVICE})
    there = f"; the Neuron nodes here are {', '.join(others)}" if others else ""
    return Shortage(
        Reason.NO_NEURON_NODES,
        f"The cluster has no node of type {_either(placement.instance_types)}{there}.",
        "Add such a node (Karpenter and managed node groups start one by themselves), or change "
        "spec.placement.instanceTypes.",
    )


def _no_device_plugin(nodes: Sequence[ObservedNode]) -> Shortage:
    return Shortage(
        Reason.DEVICE_PLUGIN_MISSING,
        f"No NeuronCores are advertised by {listed(node.name for node in nodes)}: {names.RESOURCE_NEURONCORE} is 0 "
        "there.",
        "Install the Neuron device plugin, or look at its pods: kubectl -n kube-system get pods -l "
        "name=neuron-device-plugin-ds.",
    )


def _too_few_cores(placement: Placement, waiting: int, free: str) -> Shortage:
    return Shortage(
        Reason.INSUFFICIENT_NEURON_CORES,
        f"{_pods(waiting)} without a node: each asks for {_cores(placement.neuron_cores)} on one node"
        f"{'; ' + free if free else ''}.",
        "Scale down or delete another model, or add a node.",
    )


def _tainted(placement: Placement, nodes: Sequence[ObservedNode], waiting: int, scheduler_message: str) -> Shortage:
    """The scheduler counts the nodes; which taints they have, the nodes say."""
    found = {in_words(taint) for node in nodes for taint in untolerated(node.taints, placement.tolerations)}
    named = f"; not tolerated: {', '.join(sorted(found)[:TAINTS_TOLD])}" if found else ""
    return Shortage(
        Reason.TAINT_NOT_TOLERATED,
        f"No node can take {_pods(waiting)}: {scheduler_message.rstrip('. ')}{named}.",
        "Add the taint to spec.placement.tolerations, or remove it from the nodes meant for models.",
    )


def _kept_by_stale_map(placement: Placement, nodes: Sequence[ObservedNode], capacity: Capacity) -> list[ObservedNode]:
    """Nodes that could take the pod, were it not for cores that the scheduler extension's map holds for nobody."""
    if placement.scheduler_name is None or capacity.requests is None:
        return []
    return [
        node
        for node in nodes
        if _free(node, capacity) >= placement.neuron_cores and not untolerated(node.taints, placement.tolerations)
        if has_stale_map(node, capacity.requests.get(node.name, Requests()))
        if max(free_runs(node), default=0) < placement.neuron_cores
    ]


def _stale_map(placement: Placement, nodes: Sequence[ObservedNode], waiting: int) -> Shortage:
    first = min(node.name for node in nodes)
    return Shortage(
        Reason.STALE_USAGE_MAP,
        f"{_pods(waiting)} without a node: {_cores(placement.neuron_cores)} {_are(placement.neuron_cores)} free on "
        f"{listed(node.name for node in nodes)}, but {names.ANNOTATION_CORE_USAGE} there holds cores that no pod asks "
        "for.",
        f"Remove the map, and the scheduler extension makes it anew: kubectl annotate node {first} "
        f"{names.ANNOTATION_CORE_USAGE}- {names.ANNOTATION_DEVICE_USAGE}-.",
    )


def _free_by_type(nodes: Sequence[ObservedNode], capacity: Capacity, asked: int) -> str:
    parts = []
    for instance_type in sorted({node.instance_type for node in nodes}):
        free = [_free(node, capacity) for node in nodes if node.instance_type == instance_type]
        count = f"{len(free)} node{'s' if len(free) > 1 else ''}"
        parts.append(f"{instance_type} ({count}): at most {max(free)} free on one, {asked - max(free)} missing")
    return ", ".join(parts) or "no node of a wanted type is ready and open for pods"


def _free(node: ObservedNode, capacity: Capacity) -> int:
    return free_cores(node, (capacity.requests or {}).get(node.name, Requests()))


def _effective_request(spec: Mapping[str, Any], resource: str) -> int:
    def of(container: Mapping[str, Any]) -> int:
        return int(parse_quantity(container.get("resources", {}).get("requests", {}).get(resource, 0)))

    # Init containers run one after the other before the rest; those that stay (restartPolicy Always) add up with it.
    staying = sum(of(c) for c in spec.get("initContainers", ()) if c.get("restartPolicy") == "Always")
    passing = max((of(c) for c in spec.get("initContainers", ()) if c.get("restartPolicy") != "Always"), default=0)
    return max(passing, staying + sum(of(container) for container in spec.get("containers", ())))


def listed(nodes: Iterable[str]) -> str:
    """A few of the names, always the same ones."""
    named = sorted(nodes)
    return ", ".join(named[:NODES_TOLD]) + (" and others" if len(named) > NODES_TOLD else "")


def _are(count: int) -> str:
    return "is" if count == 1 else "are"


def _pods(count: int) -> str:
    return "1 pod" if count == 1 else f"{count} pods"


def _cores(count: int) -> str:
    return "1 NeuronCore" if count == 1 else f"{count} NeuronCores"


def _either(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} or {words[-1]}"
