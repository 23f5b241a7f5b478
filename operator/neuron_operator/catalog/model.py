"""What an instance type is: its cores, and which core counts it can give. Pure."""

from dataclasses import dataclass
from typing import Literal

# A 2D torus gives 1, 4, 8 or 16 devices (Neuron SDK, deploy/infrastructure/scheduler.rst); a ring any run of neighbors.
TORUS_DEVICES = (1, 4, 8, 16)


@dataclass(frozen=True)
class InstanceType:
    """One row of hack/data/instances.csv; memory in GiB, price in US dollars an hour on demand in us-east-1.

    What is allocatable is what the kubelet leaves to pods; DaemonSets take some of it, too.
    """

    name: str
    devices: int
    cores_per_device: int
    device_memory_gib: int
    vcpus: int
    memory_gib: int
    allocatable_cpu_millis: int
    allocatable_memory_mib: int
    price_usd_per_hour: float
    topology: Literal["single", "ring", "torus"]
    is_offered: bool

    @property
    def neuron_cores(self) -> int:
        return self.devices * self.cores_per_device

    @property
    def family(self) -> str:
        return self.name.partition(".")[0]

    @property
    def size(self) -> int:
        """The multiplier in the name: 1 for xlarge, 24 for 24xlarge."""
        return int(self.name.partition(".")[2].removesuffix("xlarge") or 1)

    def fits(self, neuron_cores: int) -> bool:
        """Whether one replica with that many cores can run here at all."""
        if self.topology == "torus" and neuron_cores > 1:
            return neuron_cores in {devices * self.cores_per_device for devices in TORUS_DEVICES}
        return 1 <= neuron_cores <= self.neuron_cores

    def fits_without_extension(self, neuron_cores: int) -> bool:
        """Whether the default scheduler may place it: only one core or all cores are contiguous by themselves."""
        return self.fits(neuron_cores) and neuron_cores in (1, self.neuron_cores)
