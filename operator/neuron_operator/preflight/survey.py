"""Reads a cluster once for `python -m neuron_operator preflight`, before or after the operator is installed.

It writes nothing, and it has no second look: what has only just started may fail here and not in the operator.
"""

import asyncio

from neuron_operator.cluster import ApiCluster
from neuron_operator.errors import NotFoundError
from neuron_operator.indices import trimmed
from neuron_operator.names import KIND, LABEL_MODEL
from neuron_operator.preflight.checks import Finding, check
from neuron_operator.preflight.reading import completed
from neuron_operator.preflight.surroundings import Body, observe_surroundings
from neuron_operator.process import kubeconfig_path
from neuron_operator.settings import Settings


def preflight(settings: Settings) -> tuple[Finding, ...]:
    """The findings on the cluster that KUBECONFIG names."""
    return asyncio.run(_preflight(settings))


async def _preflight(settings: Settings) -> tuple[Finding, ...]:
    cluster = await ApiCluster.connect(kubeconfig_path())
    try:
        nodes, pods = await cluster.list("Node"), await cluster.list("Pod", label_selector=LABEL_MODEL)
        found = observe_surroundings(
            (trimmed("Node", node) for node in nodes), await _models(cluster), pods, settings.scheduler_name
        )
        return check(await completed(found, cluster, has_monitoring=True))
    finally:
        await cluster.close()


async def _models(cluster: ApiCluster) -> list[dict[str, object]] | list[Body]:
    """None before their definition is installed."""
    try:
        return await cluster.list(KIND)
    except NotFoundError:
        return []
