"""Which cores a process asks for, from its environment. Pure (AWS: "NeuronX Runtime Configuration").

NEURON_RT_VISIBLE_CORES names them (`1`, `0-1` or `0,1`) and wins over NEURON_RT_NUM_CORES, which takes any that
are free; with neither, a process takes every core it can see.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from emulated_node.instances import InstanceFacts
from emulated_node.nrt import NrtError

# Ours, set by the device plugin for whole devices: the host's device numbers, which the driver would know.
DEVICES_VARIABLE = "NEURON_EMULATOR_DEVICES"


@dataclass(frozen=True)
class CoreRequest:
    """`candidates` are node-wide core ids; `count` of them are wanted, all when `exact`."""

    candidates: tuple[int, ...]
    count: int
    exact: bool

    def __str__(self) -> str:
        if not self.exact:
            return str(self.count)
        first, last = self.candidates[0], self.candidates[-1]
        return f"nc{first}" if first == last else f"nc{first}-nc{last}"


def core_request(environ: Mapping[str, str], facts: InstanceFacts) -> CoreRequest:
    present = _present_cores(environ, facts)
    visible = environ.get("NEURON_RT_VISIBLE_CORES", "").strip()
    if visible:
        return CoreRequest(tuple(_named(visible, present)), len(_named(visible, present)), exact=True)
    wanted = environ.get("NEURON_RT_NUM_CORES", "").strip() or "0"
    if not wanted.isdigit() or int(wanted) > len(present):
        raise NrtError(2, f"NRT_INVALID status=2: NEURON_RT_NUM_CORES={wanted!r}, {len(present)} NeuronCores are here")
    count = int(wanted) or len(present)
    return CoreRequest(tuple(present), count, exact=count == len(present))


def parse_core_list(text: str) -> list[int]:
    """`1`, `0-1`, `0,1` and mixtures of them, in ascending order; ValueError for anything else."""
    cores: set[int] = set()
    for part in text.split(","):
        first, dash, last = part.strip().partition("-")
        low, high = int(first), int(last if dash else first)
        if high < low:
            raise ValueError(f"{part!r} counts down")
        cores.update(range(low, high + 1))
    return sorted(cores)


def _present_cores(environ: Mapping[str, str], facts: InstanceFacts) -> list[int]:
    devices = environ.get(DEVICES_VARIABLE)
    numbers = parse_core_list(devices) if devices else range(facts.device_count)
    return [device * facts.cores_per_device + core for device in numbers for core in range(facts.cores_per_device)]


def _named(visible: str, present: list[int]) -> list[int]:
    try:
        cores = parse_core_list(visible)
    except ValueError as error:
        raise NrtError(2, f"NRT_INVALID status=2: NEURON_RT_VISIBLE_CORES={visible!r} is no list of cores") from error
    if cores[-1] >= len(present):
        here = f"{len(present)} NeuronCores are here"
        raise NrtError(2, f"NRT_INVALID status=2: NEURON_RT_VISIBLE_CORES={visible!r}, {here}")
    if cores != list(range(cores[0], cores[-1] + 1)):
        raise NrtError(2, "NRT:nrt_allocate_neuron_cores  Neuron cores are not contiguous (NRT_INVALID status=2)")
    return [present[core] for core in cores]
