"""Which events wake a model at once, and which a moment later, together with others like them."""

import asyncio
from typing import Any

import pytest

from fakes.cluster import FakeCluster
from neuron_operator.handlers import BURST_S, Feed
from neuron_operator.indices import Indices, Key
from neuron_operator.names import KIND, LABEL_MODEL
from neuron_operator.nodes import NodeWatch
from neuron_operator.workqueue import WorkQueue

KEY = Key("shop", "sentiment")


def body(
    version: int = 1, *, status: int = 0, replicas: int = 1, annotation: str = "", **metadata: str
) -> dict[str, Any]:
    named = {
        "name": "sentiment",
        "namespace": "shop",
        "resourceVersion": str(version),
        "labels": {LABEL_MODEL: "sentiment"},
    }
    noted = {"annotations": {"note": annotation}, **metadata}
    return {
        "metadata": named | noted,
        "spec": {"replicas": replicas},
        "status": {"phase": str(status), "replicas": status},
    }


class Fed:
    """A feed and the queue that it fills."""

    def __init__(self) -> None:
        self.indices, self.queue = Indices(), WorkQueue[Key]()
        self.feed = Feed(self.indices, self.queue, NodeWatch(FakeCluster(), self.indices, self.queue))

    async def comes_within(self, seconds: float) -> bool:
        try:
            return await asyncio.wait_for(self.queue.take(), seconds) == KEY
        except TimeoutError:
            return False


@pytest.fixture
def fed() -> Fed:
    return Fed()


@pytest.mark.parametrize(
    ("kind", "before", "now"),
    [
        pytest.param(KIND, None, body(), id="a-new-model"),
        pytest.param(KIND, body(), body(2, replicas=2), id="an-edited-model"),
        pytest.param("Deployment", body(), body(2, replicas=2), id="an-edited-deployment"),
        pytest.param("Deployment", body(), body(2, annotation="edited"), id="an-edited-annotation"),
        pytest.param("Deployment", body(), body(2, status=1, replicas=2), id="an-edited-deployment-with-its-status"),
        pytest.param(
            "Deployment", body(), body(2, deletionTimestamp="2026-01-01T00:00:00Z"), id="a-deleted-deployment"
        ),
        pytest.param("Service", body(), body(2, replicas=2), id="an-edited-service"),
    ],
)
async def test_what_somebody_meant_is_looked_at_at_once(
    fed: Fed, kind: str, before: dict[str, Any] | None, now: dict[str, Any]
) -> None:
    if before is not None:
        fed.indices.put(kind, before)
    fed.feed.know(kind, now)
    assert await fed.comes_within(BURST_S / 10)


@pytest.mark.parametrize(
    ("kind", "before", "now"),
    [
        pytest.param("Pod", None, body(), id="a-new-pod"),
        pytest.param("Pod", body(), body(2, status=1), id="what-a-kubelet-tells"),
        pytest.param("Deployment", body(), body(2, status=1), id="what-the-deployment-controller-tells"),
    ],
)
async def test_what_comes_in_bursts_is_looked_at_a_moment_later(
    fed: Fed, kind: str, before: dict[str, Any] | None, now: dict[str, Any]
) -> None:
    if before is not None:
        fed.indices.put(kind, before)
    fed.feed.know(kind, now)
    assert not await fed.comes_within(BURST_S / 10)
    assert fed.queue.depth == 1
    assert await fed.comes_within(60)


async def test_bursts_are_waited_for_longer_while_models_wait_for_their_first_look() -> None:
    fed = Fed()
    fed.queue.is_new = lambda key: key != KEY
    fed.queue.add(Key("shop", "new"))
    fed.feed.know("Pod", body())
    assert await fed.queue.take() == Key("shop", "new")
    assert not await fed.comes_within(2 * BURST_S)
    assert await fed.comes_within(60)


async def test_a_pod_that_is_gone_is_looked_at_at_once(fed: Fed) -> None:
    fed.indices.put("Pod", body())
    fed.feed.forget("Pod", body(2))
    assert await fed.comes_within(BURST_S / 10)
