"""What the device plugin offers and what a container gets for it; `device_plugin` serves it.

Two resources count the same silicon, and neither knows of the other: on a real node too, plain kubelet accounting
lets a core be handed out twice, once as aws.amazon.com/neuroncore and once inside an aws.amazon.com/neuron.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from emulated_node.instances import InstanceFacts

CORE_RESOURCE = "aws.amazon.com/neuroncore"
DEVICE_RESOURCE = "aws.amazon.com/neuron"
_PREFIXES = {CORE_RESOURCE: "neuroncore-", DEVICE_RESOURCE: "neuron-"}

# How NEURON_RT_VISIBLE_CORES is written: all documented forms, so that readers can be tried against each.
VISIBLE_CORES_FORMS = ("list", "range")


@dataclass(frozen=True)
class Grant:
    """The part of an Allocate answer that concerns one container."""

    environment: dict[str, str]
    mounts: tuple[tuple[str, Path, bool], ...]  # container path, host path, read-only
    devices: tuple[str, ...]  # container paths


@dataclass(frozen=True)
class HostPaths:
    """Where the parts of the emulator are on this host."""

    torch: Path
    stand_ins: Path
    bin: Path
    state: Path

    @classmethod
    def under(cls, prepared: Path, state: Path) -> "HostPaths":
        """The layout that `site_packages` makes."""
        return cls(prepared / "torch", prepared / "stand-ins", prepared / "bin", state)

    def resolved(self) -> "HostPaths":
        """The folders that the links name now: a running pod must keep the ones it started with."""
        return HostPaths(self.torch.resolve(), self.stand_ins.resolve(), self.bin.resolve(), self.state.resolve())

    def mounts(self) -> tuple[tuple[str, Path, bool], ...]:
        return (
            ("/opt/neuron-emulator/site-packages", self.torch, True),
            ("/opt/neuron-emulator/stand-ins", self.stand_ins, True),
            ("/opt/aws/neuron/bin", self.bin, True),
            ("/run/neuron-emulator", self.state, False),
        )


def offered_ids(resource: str, facts: InstanceFacts) -> tuple[str, ...]:
    count = facts.core_count if resource == CORE_RESOURCE else facts.device_count
    return tuple(f"{_PREFIXES[resource]}{number}" for number in range(count))


def number_of(device_id: str) -> int:
    return int(device_id.rsplit("-", 1)[1])


def is_healthy(device_id: str, unhealthy: Iterable[str], facts: InstanceFacts) -> bool:
    """A core is unhealthy when it or its device is named."""
    named = set(unhealthy)
    if device_id.startswith(_PREFIXES[CORE_RESOURCE]):
        named_device = f"{_PREFIXES[DEVICE_RESOURCE]}{number_of(device_id) // facts.cores_per_device}"
        return not named & {device_id, named_device}
    return device_id not in named


def preferred_ids(available: Iterable[str], must_include: Iterable[str], size: int, group: int) -> tuple[str, ...]:
    """Contiguous ids where they exist, because the runtime loads on no others.

    Among contiguous runs: the fewest devices (`group` ids each), then the run that leaves the least broken space.
    """
    names = {number_of(device_id): device_id for device_id in (*available, *must_include)}
    needed = {number_of(device_id) for device_id in must_include}
    windows = [
        window
        for start in sorted(names)
        if needed <= set(window := range(start, start + size)) and all(number in names for number in window)
    ]
    if windows:
        best = min(windows, key=lambda window: (_groups(window, group), _free_neighbors(window, names), window.start))
        return tuple(names[number] for number in best)
    rest = [number for number in sorted(names) if number not in needed]
    return tuple(names[number] for number in sorted((*needed, *rest[: max(0, size - len(needed))])))


def grant(device_ids: Iterable[str], resource: str, facts: InstanceFacts, paths: HostPaths, form: str) -> Grant:
    """`form`: one of VISIBLE_CORES_FORMS. Whole devices never come with NEURON_RT_VISIBLE_CORES."""
    numbers = sorted(number_of(device_id) for device_id in device_ids)
    environment = {
        "PYTHONPATH": "/opt/neuron-emulator/stand-ins:/opt/neuron-emulator/site-packages",
        "NEURON_EMULATOR_STATE": "/run/neuron-emulator",
    }
    if resource == CORE_RESOURCE:
        devices = sorted({core // facts.cores_per_device for core in numbers})
        environment["NEURON_RT_VISIBLE_CORES"] = written_cores(numbers, form)
    else:
        devices = numbers
        environment["NEURON_EMULATOR_DEVICES"] = ",".join(map(str, devices))
    return Grant(environment, paths.mounts(), tuple(f"/dev/neuron{device}" for device in devices))


def written_cores(cores: list[int], form: str) -> str:
    is_contiguous = cores == list(range(cores[0], cores[-1] + 1))
    if form == "range" and len(cores) > 1 and is_contiguous:
        return f"{cores[0]}-{cores[-1]}"
    return ",".join(map(str, cores))


def _groups(window: range, group: int) -> int:
    return len({number // group for number in window})


def _free_neighbors(window: range, names: dict[int, str]) -> int:
    """How many free ids the run would be cut from; 0 fills a gap exactly."""
    below, above = window.start - 1, window.stop
    while below in names:
        below -= 1
    while above in names:
        above += 1
    return window.start - 1 - below + above - window.stop
