"""What a model demands of an instance type, one demand after the other, each with the words for when it fails. Pure.

`placement` goes through them in order: what is left after the last one may run the model.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from neuron_operator.api.conditions import Reason
from neuron_operator.api.v1alpha1 import NeuronModelSpec
from neuron_operator.catalog import OFFERED, InstanceType, labels_of, present_name, suggestions
from neuron_operator.host import Host, cpu_in_words, host_request, host_room, memory_in_words, most_host_room
from neuron_operator.names import LABEL_INSTANCE_TYPE

DEFAULT_FAMILY = "inf2"
EXTENSION_ANSWER = (
    "Install AWS's Neuron scheduler extension and name its scheduler in spec.placement.schedulerName or in the chart's "
    "neuron.schedulerName"
)
Types = Sequence[InstanceType]


@dataclass(frozen=True)
class Demand:
    """`fits` judges one type. `left_out` says why those that don't fit are not used, `nothing_fits` what to do where
    none of those that are left does. What is only hoped for doesn't take the last ones away."""

    fits: Callable[[InstanceType], bool]
    left_out: Callable[[Types], str]
    nothing_fits: Callable[[Types], str]
    reason: Reason = Reason.NO_MATCHING_INSTANCE_TYPE
    is_hope: bool = False


def demands_of(spec: NeuronModelSpec, scheduler: str | None) -> tuple[Demand, ...]:
    labels = [_label(key, value) for key, value in spec.placement.node_selector.items() if _is_told_by_type(key)]
    neighbors = () if scheduler else (_neighbors(spec.neuron_cores),)
    return (*labels, _cores(spec, labels), _host(spec, labels), *neighbors, _surely(spec))


def default_candidates() -> list[InstanceType]:
    """The Inf2 types, the cheapest first."""
    family = [instance for instance in OFFERED if instance.family == DEFAULT_FAMILY]
    return sorted(family, key=lambda instance: instance.price_usd_per_hour)


def _is_told_by_type(label: str) -> bool:
    return present_name(label) in labels_of(OFFERED[0])


def _label(key: str, value: str) -> Demand:
    name = present_name(key)

    def nothing_fits(left: Types) -> str:
        have = joined(sorted({labels_of(instance)[name] for instance in left}))
        others = [instance.name for instance in OFFERED if labels_of(instance)[name] == value]
        close = suggestions(value) if name == LABEL_INSTANCE_TYPE else []
        if others:
            answer = f"Remove it, or name a type that has it in spec.placement.instanceTypes: {joined(others, 'or')}"
        elif close:
            answer = f"Remove it, or did you mean {joined(close, 'or')}?"
        else:
            answer = "No instance type that is offered has it: remove it"
        return f"spec.placement.nodeSelector asks for {key}: {value or repr(value)}, but {listed(left)} " + (
            f"{'has' if len(left) == 1 else 'have'} {have}. {answer}"
        )

    return Demand(
        lambda instance: labels_of(instance)[name] == value,
        lambda dropped: (
            f"{listed(dropped)} {_are(dropped)} not what spec.placement.nodeSelector asks for ({key}: {value})"
        ),
        nothing_fits,
    )


def _cores(spec: NeuronModelSpec, labels: Sequence[Demand]) -> Demand:
    cores = spec.neuron_cores

    def nothing_fits(left: Types) -> str:
        has = joined([f"{instance.name} has {instance.neuron_cores}" for instance in left])
        better = _better(labels, lambda instance: instance.fits(cores))
        answer = f"spec.neuronCores is {cores}, but {has}. Ask for fewer cores{better}"
        if any(instance.topology == "torus" and cores <= instance.neuron_cores for instance in left):
            answer += "; trn1.32xlarge and trn1n.32xlarge give 1, 2, 8, 16 or 32 cores only"
        return answer

    return Demand(
        lambda instance: instance.fits(cores), lambda dropped: f"{listed(dropped)} can't give {cores}", nothing_fits
    )


def _host(spec: NeuronModelSpec, labels: Sequence[Demand]) -> Demand:
    asked = host_request(spec)

    def fits(instance: InstanceType) -> bool:
        return asked.fits_into(most_host_room(instance))

    def nothing_fits(left: Types) -> str:
        better = _better(labels, lambda instance: fits(instance) and instance.fits(spec.neuron_cores))
        where = "spec.resources and spec.pod.containers" if spec.pod.containers else "spec.resources"
        return f"A replica asks for {_too_much(asked, left)}. Lower the requests in {where}{better}"

    return Demand(fits, lambda dropped: _leaves_less(dropped, asked), nothing_fits)


def _surely(spec: NeuronModelSpec) -> Demand:
    """How much memory a node has is known for sure only when it is there."""
    asked = host_request(spec)
    return Demand(
        lambda instance: asked.fits_into(host_room(instance)),
        lambda dropped: _leaves_less(dropped, asked),
        lambda left: (
            f"{_leaves_less(left, asked)}, by Karpenter's reckoning: whether it fits, only a real node can tell"
        ),
        is_hope=True,
    )


def _leaves_less(types: Types, asked: Host) -> str:
    leaves = f"{listed(types)} {'leaves' if len(types) == 1 else 'leave'}"
    return f"{leaves} less to pods than the {host_in_words(asked)} that a replica asks for"


def _too_much(asked: Host, left: Types) -> str:
    """What is asked for beyond what any of the types has, and the most that one has."""
    rooms = [(most_host_room(instance), instance.name) for instance in left]
    cpu, cpu_on = max((room.cpu, name) for room, name in rooms)
    memory, memory_on = max((room.memory, name) for room, name in rooms)
    too_much = []
    if asked.cpu > cpu or asked.memory <= memory:
        too_much.append(
            f"{cpu_in_words(asked.cpu)}, but the most that is left to pods is {cpu_in_words(cpu)} ({cpu_on})"
        )
    if asked.memory > memory or asked.cpu <= cpu:
        there = memory_in_words(memory, is_asked=False)
        wanted = memory_in_words(asked.memory, is_asked=True)
        too_much.append(f"{wanted}, but the most that is left to pods is {there} ({memory_on})")
    return ", and for ".join(too_much)


def host_in_words(asked: Host) -> str:
    words = [cpu_in_words(asked.cpu)] if asked.cpu else []
    words += [memory_in_words(asked.memory, is_asked=True)] if asked.memory else []
    return joined(words) if words else "no cpu or memory"


def _neighbors(cores: int) -> Demand:
    """The default scheduler may only place one core or all of a type's, which are neighbors by themselves."""

    def nothing_fits(left: Types) -> str:
        whole = sorted({1} | {instance.neuron_cores for instance in left})
        return (
            f"{cores_in_words(cores)} are more than one and fewer than all of {joined(_names(left), 'or')}, which only "
            f"AWS's Neuron scheduler extension places on neighboring cores. {EXTENSION_ANSWER}, or ask for "
            f"{joined([str(count) for count in whole], 'or')} cores"
        )

    return Demand(
        lambda instance: instance.fits_without_extension(cores),
        lambda dropped: f"{listed(dropped)} would need the Neuron scheduler extension, and no scheduler is named",
        nothing_fits,
        Reason.SCHEDULER_EXTENSION_REQUIRED,
    )


def _better(labels: Sequence[Demand], fits: Callable[[InstanceType], bool]) -> str:
    """The end of an answer that names the types to add, if there are any: the default ones before the others."""
    possible = [instance for instance in OFFERED if all(demand.fits(instance) for demand in labels) and fits(instance)]
    preferred = [instance for instance in possible if instance.family == DEFAULT_FAMILY] or possible
    return f" or add {joined(_names(preferred), 'or')}" if preferred else ""


def cores_in_words(count: int) -> str:
    return f"{count} NeuronCore{'' if count == 1 else 's'}"


def listed(instances: Iterable[InstanceType]) -> str:
    return joined(_names(instances))


def joined(words: Sequence[str], last: str = "and") -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} {last} {words[-1]}"


def _names(instances: Iterable[InstanceType]) -> list[str]:
    return [instance.name for instance in instances]


def _are(instances: Types) -> str:
    return "is" if len(instances) == 1 else "are"
