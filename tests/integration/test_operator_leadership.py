"""Two operators at once on a real API server: one leads, the other takes over, and what comes late loses."""

from typing import Any

import pytest

from integration.api_client import Api
from integration.control_plane import ControlPlane
from neuron_operator import errors
from neuron_operator.cluster import ApiCluster, Ref

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]


def service(api: Api, port: int) -> dict[str, Any]:
    metadata = {"name": "sentiment", "namespace": api.namespace}
    return {"apiVersion": "v1", "kind": "Service", "metadata": metadata, "spec": {"ports": [{"port": port}]}}


async def test_an_apply_that_was_decided_on_an_older_object_loses(api_server: ControlPlane, api: Api) -> None:
    cluster = await ApiCluster.connect(api_server.operator_kubeconfig)
    try:
        old = await cluster.apply(service(api, 80), None)
        new = await cluster.apply(service(api, 81), old)
        for late in (
            lambda: cluster.apply(service(api, 80), None),
            lambda: cluster.apply(service(api, 80), old),
            lambda: cluster.apply_alone(service(api, 80), old),
            lambda: cluster.set_owners(Ref("Service", api.namespace, "sentiment"), old, []),
        ):
            with pytest.raises(errors.ConflictError):
                await late()
        assert (await cluster.get(Ref.of(new)))["metadata"]["resourceVersion"] == new["metadata"]["resourceVersion"]
    finally:
        await cluster.close()
