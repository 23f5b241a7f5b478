"""What one pod of a model asks of its host besides NeuronCores, and how often an instance type can give it. Pure.

Only cpu and memory: how much disk a node has is up to whoever starts it.
"""

import math
from dataclasses import dataclass
from fractions import Fraction

from neuron_operator.api.pod import Resources
from neuron_operator.api.v1alpha1 import NeuronModelSpec
from neuron_operator.catalog import InstanceType
from neuron_operator.changes import parse_quantity

MEBIBYTE, GIBIBYTE = 2**20, 2**30
# What Karpenter takes off the memory of a machine by default (vmMemoryOverheadPercent), and the catalog's figures with
# it. A real node loses less: how much, only it can tell.
VIRTUAL_MACHINE_SHARE = Fraction(75, 1000)


@dataclass(frozen=True)
class Host:
    """Cpu in cores and memory in bytes: what a pod asks for, or what a node leaves to its pods. Exact numbers."""

    cpu: Fraction
    memory: Fraction

    def fits_into(self, room: "Host") -> bool:
        return self.cpu <= room.cpu and self.memory <= room.memory

    def times_in(self, room: "Host") -> int | None:
        """How many of these the room holds; None when nothing is asked for, so that it holds any number."""
        pairs = ((self.cpu, room.cpu), (self.memory, room.memory))
        return min((there // asked for asked, there in pairs if asked), default=None)


def host_request(spec: NeuronModelSpec) -> Host:
    """What the scheduler sets aside for a pod: what its containers ask for together.

    The fetch container runs before them with the runtime's resources, so it never asks for more than they do.
    """
    containers = [spec.resources, *(container.resources or Resources() for container in spec.pod.containers)]
    asked = [_request(resources) for resources in containers]
    return Host(sum((one.cpu for one in asked), Fraction()), sum((one.memory for one in asked), Fraction()))


def host_room(instance: InstanceType) -> Host:
    """What a node of that type surely leaves to its pods."""
    return Host(Fraction(instance.allocatable_cpu_millis, 1000), Fraction(instance.allocatable_memory_mib * MEBIBYTE))


def most_host_room(instance: InstanceType) -> Host:
    """What a node of that type leaves at most: what needs more can't run there, whoever started the node."""
    surely = host_room(instance)
    return Host(surely.cpu, surely.memory + VIRTUAL_MACHINE_SHARE * instance.memory_gib * GIBIBYTE)


def _request(resources: Resources) -> Host:
    """A request that is missing equals its limit: so the API server fills it in."""
    asked = {**(resources.limits or {}), **(resources.requests or {})}
    return Host(Fraction(parse_quantity(asked.get("cpu", 0))), Fraction(parse_quantity(asked.get("memory", 0))))


def cpu_in_words(cpu: Fraction) -> str:
    return f"{float(cpu):g} cpu"


def memory_in_words(memory: Fraction, *, is_asked: bool) -> str:
    """In GiB with one digit, up for what is asked and down for what is there: where it doesn't fit, one sees it."""
    tenths = memory * 10 / GIBIBYTE
    return f"{(math.ceil(tenths) if is_asked else math.floor(tenths)) / 10:g} GiB of memory"
