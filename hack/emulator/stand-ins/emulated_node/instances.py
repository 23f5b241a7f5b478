"""What each emulated instance type has: facts for neuron-monitor, neuron-ls, the device plugin and core claims.

Sources: AWS Neuron hardware pages (devices, cores, memory), a neuron-monitor report of an inf2.xlarge (device type
and versions). Only types with NeuronCore-v2 are here, because only those run what the stand-in imitates.
"""

from dataclasses import dataclass

GIB = 1024**3


@dataclass(frozen=True)
class InstanceFacts:
    instance_type: str
    device_count: int
    device_type: str
    # Reports name the generation by number; only the inf2 one was seen in a report.
    device_version: str = "v3"
    neuroncore_version: str = "v2"
    cores_per_device: int = 2
    device_memory_bytes: int = 32 * GIB

    @property
    def core_count(self) -> int:
        return self.device_count * self.cores_per_device

    @property
    def core_memory_bytes(self) -> int:
        return self.device_memory_bytes // self.cores_per_device


INSTANCES = {
    facts.instance_type: facts
    for facts in (
        InstanceFacts("inf2.xlarge", 1, "inferentia2"),
        InstanceFacts("inf2.8xlarge", 1, "inferentia2"),
        InstanceFacts("inf2.24xlarge", 6, "inferentia2"),
        InstanceFacts("inf2.48xlarge", 12, "inferentia2"),
        InstanceFacts("trn1.2xlarge", 1, "trainium1"),
        InstanceFacts("trn1.32xlarge", 16, "trainium1"),
    )
}
