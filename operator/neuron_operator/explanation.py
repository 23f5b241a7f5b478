"""The placement decision in words, for `python -m neuron_operator explain`. Pure."""

from collections.abc import Sequence

import yaml

from neuron_operator import names
from neuron_operator.api.v1alpha1 import NeuronModel
from neuron_operator.catalog import PRICES_AS_OF, InstanceType, find
from neuron_operator.demands import cores_in_words, host_in_words
from neuron_operator.host import Host, cpu_in_words, host_request, host_room, memory_in_words
from neuron_operator.nodepool import node_pool
from neuron_operator.placement import Placement, Rejection, choose_placement, weights
from neuron_operator.settings import Settings

HEADINGS = ("type", "weight", "cores", "device memory", "left to pods", "replicas by cores", "by host", "$/h")
SPREAD = {
    "Preferred": "over zones, then over nodes, where there are several",
    "None": "left to the scheduler (spec.placement.spread is None)",
}


def explanation(model: NeuronModel, settings: Settings) -> tuple[str, bool]:
    """The text, and whether the model can be placed."""
    title = f"NeuronModel {model.namespace}/{model.name}"
    decision = choose_placement(model.spec, settings)
    if isinstance(decision, Rejection):
        return f"{title}: can't be placed\n  {decision.reason}: {decision.message}\n", False
    asked = host_request(model.spec)
    lines = [
        f"{title}: can be placed",
        f"  {decision.reason}",
        f"  replicas: {_replicas(model)}",
        f"  host: {host_in_words(asked)} each",
        f"  scheduler: {decision.scheduler_name or 'the default one'}",
        f"  spread: {SPREAD[model.spec.placement.spread]}",
        f"  instance types, preferred first (prices on demand in us-east-1, {PRICES_AS_OF}):",
        *_table(decision, asked),
        *_node_pool(model, decision),
    ]
    return "\n".join(lines) + "\n", True


def _replicas(model: NeuronModel) -> str:
    count, cores = model.spec.desired_replicas, model.spec.neuron_cores
    if model.spec.suspend:
        return f"0, because spec.suspend is true ({model.spec.replicas} otherwise)"
    return f"{count} of {cores} each, {cores_in_words(count * cores)} in all"


def _table(placement: Placement, asked: Host) -> list[str]:
    """One row a type; figures to the right, as wide as the widest cell."""
    types = [found for name in placement.instance_types if (found := find(name))]
    preference = weights(placement.instance_types) if len(types) > 1 else {}
    rows = [HEADINGS, *(_row(instance, placement.neuron_cores, asked, preference) for instance in types)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(HEADINGS))]
    return [_line(row, widths) for row in rows]


def _row(instance: InstanceType, cores: int, asked: Host, preference: dict[str, int]) -> tuple[str, ...]:
    room = host_room(instance)
    by_host = asked.times_in(room)
    return (
        instance.name,
        str(preference.get(instance.name, "only")),
        str(instance.neuron_cores),
        f"{instance.devices * instance.device_memory_gib} GiB",
        f"{cpu_in_words(room.cpu)}, {memory_in_words(room.memory, is_asked=False).removesuffix(' of memory')}",
        str(instance.neuron_cores // cores),
        "any" if by_host is None else str(by_host),
        f"{instance.price_usd_per_hour:.2f}",
    )


def _line(row: Sequence[str], widths: Sequence[int]) -> str:
    first, *figures = (
        cell.rjust(width) if place else cell.ljust(width)
        for place, (cell, width) in enumerate(zip(row, widths, strict=True))
    )
    return f"    {'  '.join([first, *figures])}"


def _node_pool(model: NeuronModel, placement: Placement) -> list[str]:
    selector = model.spec.placement.node_selector
    pool = yaml.safe_dump(node_pool(placement, selector), sort_keys=False, default_flow_style=None, width=120)
    lines = ["  with Karpenter, a NodePool like this starts nodes for it (nodeClassRef and limits are yours to add):"]
    lines += [f"    {line}" for line in pool.splitlines()]
    if names.LABEL_HOSTNAME in selector:
        lines.append(f"  no NodePool can start a node for {names.LABEL_HOSTNAME}: that selects one machine by its name")
    return lines
