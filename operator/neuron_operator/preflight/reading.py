"""Reads what the preflight checks need beyond nodes, models and their pods: as little as there is to judge.

What can't be read is told and stays unknown; the checks go on with the rest.
"""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol

from neuron_operator.capacity import Requests, requests_of
from neuron_operator.errors import ApiError
from neuron_operator.preflight.checks import MONITORING_API
from neuron_operator.preflight.surroundings import Surroundings, suspects

logger = logging.getLogger(__name__)


class Readable(Protocol):
    """What is asked of the API server."""

    async def list_pods_on(self, node: str) -> list[dict[str, Any]]: ...

    async def served_kinds(self, api_version: str) -> frozenset[str]: ...


async def completed(found: Surroundings, cluster: Readable, *, has_monitoring: bool) -> Surroundings:
    """With the pods of everyone where a usage map is suspect, and with the definitions if their group is there."""
    requests, definitions = await asyncio.gather(
        _read_requests(cluster, suspects(found)), _read_definitions(cluster, has_monitoring=has_monitoring)
    )
    return replace(found, requests=requests, definitions=definitions)


async def _read_requests(cluster: Readable, nodes: Sequence[str]) -> Mapping[str, Requests] | None:
    """Read now, not from what is kept for the models: pods must not be older than the map they are held against."""
    try:
        pods = await asyncio.gather(*(cluster.list_pods_on(node) for node in nodes))
    except ApiError as error:
        logger.warning("the pods of nodes with usage maps can't be read: %s", error)
        return None
    return {node: requests_of(there) for node, there in zip(nodes, pods, strict=True)}


async def _read_definitions(cluster: Readable, *, has_monitoring: bool) -> frozenset[str] | None:
    if not has_monitoring:
        return frozenset()
    try:
        return await cluster.served_kinds(MONITORING_API)
    except ApiError as error:
        logger.warning("the definitions of %s can't be read: %s", MONITORING_API, error)
        return None
