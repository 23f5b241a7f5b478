"""What a Karpenter NodePool must allow so that it starts nodes for a model: for `explain`, to be pasted. Pure.

Karpenter derives nodes from labels that it knows by itself; any other label must be promised by the NodePool, and that
of one machine can't be promised at all.
"""

from collections.abc import Mapping
from typing import Any, Final

from neuron_operator import names
from neuron_operator.catalog import present_name
from neuron_operator.placement import Placement

LABEL_NODE_POOL: Final = "karpenter.sh/nodepool"
KNOWN: Final = (
    "karpenter.sh/capacity-type",
    "topology.kubernetes.io/region",
    names.LABEL_ARCH,
    names.LABEL_INSTANCE_TYPE,
    names.LABEL_OS,
    names.LABEL_ZONE,
)
KNOWN_PREFIXES: Final = ("karpenter.k8s.aws/", "eks.amazonaws.com/instance-")
# Of one node, or of one pool: no requirement of a pool.
OF_NODES: Final = (names.LABEL_HOSTNAME, LABEL_NODE_POOL)


def node_pool(placement: Placement, node_selector: Mapping[str, str]) -> dict[str, Any]:
    """Metadata and the template of a NodePool; its nodeClassRef and its limits are for whoever runs the cluster."""
    selected = {present_name(key): value for key, value in node_selector.items()}
    required = {
        names.LABEL_INSTANCE_TYPE: list(placement.instance_types),
        names.LABEL_ARCH: ["amd64"],
        names.LABEL_OS: ["linux"],
    } | {key: [value] for key, value in selected.items() if _is_known(key)}
    promised = {key: value for key, value in selected.items() if not _is_known(key) and key not in OF_NODES}
    taint = {"key": names.TAINT_NEURON, "value": "true", "effect": "NoSchedule"}
    requirements = [{"key": key, "operator": "In", "values": values} for key, values in required.items()]
    template: dict[str, Any] = {"spec": {"requirements": requirements, "taints": [taint]}}
    if promised:
        template = {"metadata": {"labels": promised}, **template}
    return {
        "apiVersion": "karpenter.sh/v1",
        "kind": "NodePool",
        "metadata": {"name": selected.get(LABEL_NODE_POOL, "neuron")},
        "spec": {"template": template},
    }


def _is_known(label: str) -> bool:
    return label in KNOWN or label.startswith(KNOWN_PREFIXES)
