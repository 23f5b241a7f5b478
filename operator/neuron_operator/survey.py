"""Reads from the cluster, once, what planning the rollout of a model rests on. It writes nothing.

For the command line, which has no watches; the operator has all but the pods of others in its indices.
"""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any

from neuron_operator import names
from neuron_operator.api import NeuronModel
from neuron_operator.capacity import is_neuron_node
from neuron_operator.claims import claims_of
from neuron_operator.cluster import ApiCluster
from neuron_operator.indices import CHILD_KINDS, trimmed
from neuron_operator.observe import observe_node, observe_pods
from neuron_operator.plan import Known, controller_of
from neuron_operator.process import kubeconfig_path
from neuron_operator.rehearsal import rehearse
from neuron_operator.rollout import Outlook
from neuron_operator.settings import Settings


def rehearsals(models: Sequence[NeuronModel], settings: Settings) -> list[tuple[str, bool]]:
    """What `rehearse` says of each model on the cluster that KUBECONFIG names."""
    return asyncio.run(_rehearse_all(models, settings))


async def _rehearse_all(models: Sequence[NeuronModel], settings: Settings) -> list[tuple[str, bool]]:
    cluster = await ApiCluster.connect(kubeconfig_path())
    try:
        outlook = await _outlook(cluster)
        return [rehearse(await _known(cluster, model), settings, outlook) for model in models]
    finally:
        await cluster.close()


async def _outlook(cluster: ApiCluster) -> Outlook:
    """What the operator itself has promised is not seen from here, but for the pods that wait for it."""
    found = [observe_node(trimmed("Node", body)) for body in await cluster.list("Node")]
    nodes = tuple(filter(is_neuron_node, found))
    pods = await asyncio.gather(*(cluster.list_pods_on(name) for name in (*(node.name for node in nodes), "")))
    return Outlook(nodes, claims_of(pod for found in pods for pod in found), (), datetime.now(UTC))


async def _known(cluster: ApiCluster, model: NeuronModel) -> Known:
    """The model as the file has it, with what the cluster has of it."""
    selector = f"{names.LABEL_MODEL}={model.name}"
    lists = await asyncio.gather(
        *(cluster.list(kind, model.namespace, label_selector=selector) for kind in (*CHILD_KINDS, "Pod"))
    )
    *children, pods = lists
    by_kind = dict(zip(CHILD_KINDS, children, strict=True))
    owners = [owner for body in by_kind["Deployment"] if (owner := controller_of(body)) is not None]
    metadata: dict[str, Any] = {"name": model.name, "namespace": model.namespace}
    # Only an object on the cluster has a uid; without it the children would look like somebody else's.
    metadata |= {"uid": owners[0]["uid"]} if owners else {}
    return Known({"metadata": metadata, "spec": model.spec.wire()}, by_kind, observe_pods(pods))
