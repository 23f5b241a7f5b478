"""What an instance type is, and how one is found by name. Pure."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class InstanceType:
    """One row of hack/data/instances.csv; memory in GiB, price in US dollars an hour on demand in us-east-1."""

    name: str
    devices: int
    cores_per_device: int
    device_memory_gib: int
    vcpus: int
    memory_gib: int
    price_usd_per_hour: float
    topology: Literal["single", "ring", "torus"]
    is_offered: bool

    @property
    def neuron_cores(self) -> int:
        return self.devices * self.cores_per_device

    @property
    def family(self) -> str:
        return self.name.partition(".")[0]
