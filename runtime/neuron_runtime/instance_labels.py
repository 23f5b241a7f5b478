"""The instance's labels on neuron-monitor's metrics: what instance metadata said, else what the pod knows. Pure.

Metadata is closed to pods on many nodes (a hop limit of 1), and neuron-monitor then reports empty texts. The operator
gives the pod NODE_NAME; EKS gives AWS_REGION to pods with a role; a pod may be given the rest in spec.pod.env. A node's
name holds the region, and the instance's id where the subnet names by resource (EC2: "Instance hostname types").
"""

import re
from collections.abc import Iterable, Mapping

INSTANCE_LABELS = ("instance_name", "instance_id", "instance_type", "availability_zone", "region", "subnet_id")
VARIABLES: Mapping[str, tuple[str, ...]] = {
    "instance_name": ("NODE_NAME",),
    "instance_id": ("INSTANCE_ID",),
    "instance_type": ("INSTANCE_TYPE",),
    "availability_zone": ("AVAILABILITY_ZONE",),
    "region": ("AWS_REGION", "AWS_DEFAULT_REGION"),
    "subnet_id": ("SUBNET_ID",),
}
LONGEST_VALUE = 128
_REPORT_KEYS = {"availability_zone": "instance_availability_zone", "region": "instance_region"}
# ip-10-0-1-2.eu-west-1.compute.internal, i-0123456789abcdef0.eu-west-1.compute.internal; us-east-1 has .ec2.internal.
_NODE_NAME = re.compile(r"(?:(i-[0-9a-f]{8,17})|[^.]+)\.(?:(ec2)|([a-z]{2}(?:-[a-z]+)+-\d)\.compute)\.internal")
_ZONE = re.compile(r"([a-z]{2}(?:-[a-z]+)+-\d)[a-z]")


def instance_labels(info: Mapping[str, object], environment: Mapping[str, str]) -> tuple[str, ...]:
    """In the order of INSTANCE_LABELS; empty where nobody knows. `info` is the report's instance_info."""
    node = _from_node_name(environment.get("NODE_NAME", ""))
    known = {
        label: _first((_reported(label, info), node.get(label), *map(environment.get, VARIABLES[label])))
        for label in INSTANCE_LABELS
    }
    if not known["region"] and (zone := _ZONE.fullmatch(known["availability_zone"])):
        known["region"] = zone[1]
    return tuple(known.values())


def _reported(label: str, info: Mapping[str, object]) -> str | None:
    value = info.get(_REPORT_KEYS.get(label, label))
    return value if isinstance(value, str) else None


def _first(values: Iterable[str | None]) -> str:
    return next((value[:LONGEST_VALUE] for value in values if value), "")


def _from_node_name(name: str) -> dict[str, str]:
    match = _NODE_NAME.fullmatch(name)
    if match is None:
        return {}
    instance_id, is_first_region, region = match.groups("")
    return {"instance_id": instance_id, "region": "us-east-1" if is_first_region else region}
