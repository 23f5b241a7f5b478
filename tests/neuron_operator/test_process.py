"""The process around the loop: kopf's settings by name, the feed of events, health and metrics."""

from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest

from fakes.cluster import FakeCluster
from neuron_operator import errors
from neuron_operator.handlers import Feed
from neuron_operator.health import Health
from neuron_operator.indices import Indices, Key
from neuron_operator.metrics import Metrics, ModelCollector
from neuron_operator.nodes import NodeWatch
from neuron_operator.watching import _set, kopf_settings
from neuron_operator.workqueue import WorkQueue


def test_kopf_neither_posts_nor_scans_and_streams_only_what_is_ours() -> None:
    settings = kopf_settings()
    assert not settings.posting.enabled
    assert settings.scanning.disabled
    assert settings.watching.label_selectors["v1/pods"] == "neuron-serving.dev/model"
    assert settings.watching.label_selectors["apps/v1/deployments"] == "neuron-serving.dev/model"


def test_a_misspelled_setting_of_kopf_is_found() -> None:
    with pytest.raises(AssertionError, match=r"no setting PostingSettings\.sucess_events"):
        _set(kopf_settings().posting, sucess_events=True)


def child(version: int, **spec: Any) -> dict[str, Any]:
    metadata = {"name": "sentiment", "namespace": "shop", "labels": {"neuron-serving.dev/model": "sentiment"}}
    return {"kind": "Service", "metadata": {**metadata, "resourceVersion": str(version)}, "spec": spec}


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


@pytest.mark.parametrize(
    ("age_s", "answers", "alive", "ready"),
    [
        pytest.param(0, True, True, True, id="well"),
        pytest.param(500, True, False, True, id="stuck"),
        pytest.param(500, False, True, False, id="api-server-gone"),
        pytest.param(0, False, True, False, id="idle-and-api-server-gone"),
    ],
)
async def test_liveness_fails_only_when_a_restart_could_help(
    age_s: float, answers: bool, alive: bool, ready: bool
) -> None:
    async def api_answers() -> bool:
        if not answers:
            raise errors.UnreachableError("down")
        return True

    health = Health(lambda: age_s, api_answers, lambda: True)
    assert (await health.liveness() is None, await health.readiness() is None) == (alive, ready)


async def test_a_process_whose_watches_have_not_started_is_not_ready() -> None:
    async def api_answers() -> bool:
        return True

    assert await Health(lambda: 0, api_answers, lambda: False).readiness() == "the watches have not started yet"


def test_models_are_counted_by_condition_and_every_metric_has_a_help_text() -> None:
    metrics = Metrics(CollectorRegistry())
    condition = {"type": "Ready", "status": "False", "reason": "CrashLoop"}
    metrics.registry.register(ModelCollector(lambda: [{"status": {"conditions": [condition]}}, {}]))
    text = generate_latest(metrics.registry).decode()
    assert 'models{condition="Ready",reason="CrashLoop",status="False"} 1.0' in text
    helps = [line.split(" ", 3)[3] for line in text.splitlines() if line.startswith("# HELP")]
    assert len(helps) >= 9
    assert all(words.endswith(".") for words in helps)
