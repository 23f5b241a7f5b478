"""The labels by which nodes of an instance type can be told, for whoever wrote a nodeSelector. Pure.

Kubernetes' own, Karpenter's (karpenter.k8s.aws/) and those of EKS Auto Mode (eks.amazonaws.com/), which mean the same.
A label that is not here says nothing about the type. The accelerator's name is left out: before Karpenter 1.0 every
Neuron device was called inferentia.
"""

from typing import Final

from neuron_operator.catalog.model import InstanceType
from neuron_operator.names import LABEL_ARCH, LABEL_INSTANCE_TYPE, LABEL_OS, LABEL_ZONE

# Nodes have both for now, and Karpenter reads the old ones as the new ones.
RENAMED: Final = {
    "beta.kubernetes.io/arch": LABEL_ARCH,
    "beta.kubernetes.io/instance-type": LABEL_INSTANCE_TYPE,
    "beta.kubernetes.io/os": LABEL_OS,
    "failure-domain.beta.kubernetes.io/region": "topology.kubernetes.io/region",
    "failure-domain.beta.kubernetes.io/zone": LABEL_ZONE,
}
PROVISIONERS: Final = ("karpenter.k8s.aws", "eks.amazonaws.com")


def labels_of(instance: InstanceType) -> dict[str, str]:
    """By the labels' present names; every type has the same keys."""
    category = instance.family.rstrip("abcdefghijklmnopqrstuvwxyz").rstrip("0123456789")
    facts = {
        "instance-category": category,
        "instance-family": instance.family,
        "instance-generation": instance.family.removeprefix(category)[:1],
        "instance-size": instance.name.partition(".")[2],
        "instance-cpu": str(instance.vcpus),
        "instance-memory": str(instance.memory_gib * 1024),
        "instance-accelerator-manufacturer": "aws",
        "instance-accelerator-count": str(instance.devices),
    }
    given = {f"{provisioner}/{name}": value for provisioner in PROVISIONERS for name, value in facts.items()}
    return {LABEL_INSTANCE_TYPE: instance.name, LABEL_ARCH: "amd64", LABEL_OS: "linux", **given}


def present_name(label: str) -> str:
    return RENAMED.get(label, label)
