"""The placement decision in words, for `python -m neuron_operator explain`. Pure."""

from neuron_operator.api.v1alpha1 import NeuronModel
from neuron_operator.catalog import PRICES_AS_OF, InstanceType, find
from neuron_operator.placement import Placement, Rejection, choose_placement
from neuron_operator.settings import Settings


def explanation(model: NeuronModel, settings: Settings) -> tuple[str, bool]:
    """The text, and whether the model can be placed."""
    title = f"NeuronModel {model.namespace}/{model.name}"
    decision = choose_placement(model.spec, settings)
    if isinstance(decision, Rejection):
        return f"{title}: can't be placed\n  {decision.reason}: {decision.message}\n", False
    lines = [
        f"{title}: can be placed",
        f"  {decision.reason}",
        f"  replicas: {_replicas(model)}",
        f"  scheduler: {decision.scheduler_name or 'the default one'}",
        f"  instance types, preferred first (prices on demand in us-east-1, {PRICES_AS_OF}):",
        *(_row(found, decision) for name in decision.instance_types if (found := find(name))),
    ]
    return "\n".join(lines) + "\n", True


def _replicas(model: NeuronModel) -> str:
    count, cores = model.spec.desired_replicas, model.spec.neuron_cores
    if model.spec.suspend:
        return f"0, because spec.suspend is true ({model.spec.replicas} otherwise)"
    return f"{count} of {cores} each, {count * cores} NeuronCores in all"


def _row(instance: InstanceType, placement: Placement) -> str:
    fit = instance.neuron_cores // placement.neuron_cores
    return (
        f"    {instance.name:<14} {instance.neuron_cores:>2} cores, {instance.devices * instance.device_memory_gib} "
        f"GiB of device memory, room for {fit} replica{'' if fit == 1 else 's'}, ${instance.price_usd_per_hour:.2f}/h"
    )
