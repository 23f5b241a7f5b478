"""The process around the loop: kopf's settings by name, the feed of events, metrics."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from fakes.cluster import FakeCluster
from neuron_operator.handlers import Feed
from neuron_operator.indices import Indices, Key
from neuron_operator.metrics import Metrics, ModelCollector
from neuron_operator.names import LABEL_MODEL
from neuron_operator.nodes import NodeWatch
from neuron_operator.watching import _set, kopf_settings
from neuron_operator.workqueue import WorkQueue


def test_kopf_neither_posts_nor_scans_and_streams_only_what_is_ours() -> None:
    settings = kopf_settings()
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    assert settings.watching.label_selectors["v1/pods"] == "neuron-serving.dev/model"
    assert settings.watching.label_selectors["apps/v1/deployments"] == "neuron-serving.dev/model"
    assert settings.watching.label_selectors["coordination.k8s.io/v1/leases"] == "neuron-serving.dev/elector"
    for whole in ("neuron-serving.dev/v1alpha1/neuronmodels", "v1/nodes", "autoscaling/v2/horizontalpodautoscalers"):
        assert whole not in settings.watching.label_selectors


def test_a_misspelled_setting_of_kopf_is_found() -> None:
    with pytest.raises(AssertionError, match=r"no setting PostingSettings\.sucess_events"):
        _set(kopf_settings().posting, sucess_events=True)


def child(version: int, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "sentiment", "namespace": "shop", "labels": {"neuron-serving.dev/model": "sentiment"}}
    return {"kind": "Service", "metadata": {**metadata, "resourceVersion": str(version)}, "spec": spec}


def autoscaler(version: int, target: str) -> dict[str, Any]:
    metadata = {"name": "hpa", "namespace": "shop", "resourceVersion": str(version)}
    return {"metadata": metadata, "spec": {"scaleTargetRef": {"kind": "Deployment", "name": target}}}


def new_feed() -> Feed:
    indices, queue = Indices(), WorkQueue[Key]()
    return Feed(indices, queue, NodeWatch(FakeCluster(), indices, queue))


async def test_an_event_wakes_its_model_once_and_an_echo_of_our_own_write_does_not() -> None:
    indices, queue = Indices(), WorkQueue[Key]()
    feed = Feed(indices, queue, NodeWatch(FakeCluster(), indices, queue))
    feed.know("Service", child(5, a=1))
    assert await queue.take() == Key("shop", "sentiment")
    queue.done(Key("shop", "sentiment"))
    feed.know("Service", child(5, a=1))
    assert queue.depth == 0
    feed.forget("Service", child(6, a=1))
    assert queue.depth == 1


async def test_a_child_whose_label_was_edited_wakes_its_former_model_too() -> None:
    indices, queue = Indices(), WorkQueue[Key]()
    feed = Feed(indices, queue, NodeWatch(FakeCluster(), indices, queue))
    feed.know("Service", child(5))
    relabeled = child(6)
    relabeled["metadata"]["labels"] = {"neuron-serving.dev/model": "other"}
    feed.know("Service", relabeled)
    assert {await queue.take(), await queue.take()} == {Key("shop", "sentiment"), Key("shop", "other")}


async def test_nobody_decides_before_every_first_list_has_ended() -> None:
    feed = new_feed()
    for stream in feed.scope.streams:
        assert not feed.synced.is_set()
        assert str(stream) in feed.unsynced()
        feed.begin_list(stream)
        feed.end_list(stream)
    assert feed.unsynced() == []
    assert feed.synced.is_set()


@pytest.mark.parametrize(("holder", "is_told"), [("operator-x", False), ("", True)])
async def test_a_lease_that_nobody_holds_is_told_to_whoever_waits_for_it(holder: str, is_told: bool) -> None:
    feed = new_feed()
    feed.know("Lease", {"metadata": {"name": "l", "resourceVersion": "9"}, "spec": {"holderIdentity": holder}})
    assert feed.lease_released.is_set() == is_told


async def test_a_renewal_of_the_lease_wakes_nobody() -> None:
    indices, queue = Indices(), WorkQueue[Key]()
    feed = Feed(indices, queue, NodeWatch(FakeCluster(), indices, queue))
    lease = {"metadata": {"name": "l", "namespace": "shop", "resourceVersion": "9", "labels": {LABEL_MODEL: "x"}}}
    feed.know("Lease", lease)
    feed.forget("Lease", lease)
    assert queue.depth == 0
    assert list(indices.every("Lease")) == []
    assert feed.canary.version == 9


def node(version: int, **status: Any) -> dict[str, Any]:
    metadata = {"name": "n1", "resourceVersion": str(version), "labels": {LABEL_MODEL: "sentiment"}}
    return {"metadata": metadata, "status": {"allocatable": {}, **status}}


def served_api(version: int, uid: str = "u", **more: Any) -> dict[str, Any]:
    metadata = {"name": "v1.monitoring.coreos.com", "resourceVersion": str(version), "uid": uid}
    return {"metadata": {**metadata, "labels": {LABEL_MODEL: "sentiment"}}, **more}


ENVIRONMENT = [
    pytest.param("Node", node(5), [node(6, allocatable={"aws.amazon.com/neuroncore": "2"})], id="a-node-gets-cores"),
    pytest.param("APIService", served_api(5), [served_api(6, uid="v")], id="a-definition-is-installed-again"),
]


@pytest.mark.parametrize(("kind", "first", "changes"), ENVIRONMENT)
async def test_a_change_of_the_environment_is_told_and_wakes_no_model(
    kind: str, first: dict[str, Any], changes: list[dict[str, Any]]
) -> None:
    indices, queue = Indices(), WorkQueue[Key]()
    feed = Feed(indices, queue, NodeWatch(FakeCluster(), indices, queue))
    told = []
    for step in (first, *changes):
        feed.know(kind, step)
        told.append(feed.environment_changed.is_set())
        feed.environment_changed.clear()
    feed.forget(kind, changes[-1])
    assert [*told, feed.environment_changed.is_set()] == [True] * (len(changes) + 2)
    assert (queue.depth, indices.keys(kind)) == (0, [])


@pytest.mark.parametrize(
    ("kind", "first", "echo"),
    [
        pytest.param("Node", node(5), node(6, images=["many"]), id="a-node-that-pulled-an-image"),
        pytest.param("APIService", served_api(5), served_api(6, status={"conditions": []}), id="an-api-that-answers"),
        pytest.param("Service", child(5), child(6, a=1), id="a-child"),
    ],
)
async def test_what_does_not_matter_to_the_environment_is_not_told(
    kind: str, first: dict[str, Any], echo: dict[str, Any]
) -> None:
    feed = new_feed()
    feed.know(kind, first)
    feed.environment_changed.clear()
    feed.know(kind, echo)
    assert not feed.environment_changed.is_set()


async def test_an_autoscaler_wakes_the_model_it_scales_and_nobody_else() -> None:
    indices, queue = Indices(), WorkQueue[Key]()
    feed = Feed(indices, queue, NodeWatch(FakeCluster(), indices, queue))
    indices.put("NeuronModel", {"metadata": {"name": "sentiment", "namespace": "shop", "resourceVersion": "1"}})
    feed.know("HorizontalPodAutoscaler", autoscaler(5, "of-another-app"))
    assert queue.depth == 0
    feed.know("HorizontalPodAutoscaler", autoscaler(6, "sentiment"))
    assert await queue.take() == Key("shop", "sentiment")
    queue.done(Key("shop", "sentiment"))
    feed.know("HorizontalPodAutoscaler", {**autoscaler(7, "sentiment"), "status": {"currentReplicas": 3}})
    assert queue.depth == 0
    feed.know("HorizontalPodAutoscaler", autoscaler(8, "of-another-app"))
    assert queue.depth == 1


def test_models_are_counted_by_condition_and_every_metric_has_a_help_text() -> None:
    metrics = Metrics(CollectorRegistry())
    condition = {"type": "Ready", "status": "False", "reason": "CrashLoop"}
    metrics.registry.register(ModelCollector(lambda: [{"status": {"conditions": [condition]}}, {}]))
    text = generate_latest(metrics.registry).decode()
    assert 'models{condition="Ready",reason="CrashLoop",status="False"} 1.0' in text
    helps = [line.split(" ", 3)[3] for line in text.splitlines() if line.startswith("# HELP")]
    assert len(helps) >= 9
    assert all(words.endswith(".") for words in helps)
