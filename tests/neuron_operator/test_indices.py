"""What is known of the cluster: the newest body wins, whoever brings it."""

from typing import Any

import pytest

from neuron_operator.indices import PACKED, Indices, Key, News, trimmed

KEY = Key("shop", "sentiment")


def child(version: int, name: str = "sentiment", label: str = "sentiment", **spec: Any) -> dict[str, Any]:
    metadata = {
        "name": name,
        "namespace": "shop",
        "resourceVersion": str(version),
        "labels": {"neuron-serving.dev/model": label},
        "managedFields": [{"manager": "kubectl"}],
    }
    return {"kind": "Service", "metadata": metadata, "spec": spec}


def test_an_older_body_never_replaces_a_newer_one() -> None:
    indices = Indices()
    assert indices.put("Service", child(9, a=1))
    assert not indices.put("Service", child(8, a=0))
    found = indices.get("Service", KEY)
    assert found is not None
    assert found["spec"] == {"a": 1}
    assert "managedFields" not in found["metadata"]


def test_a_new_version_of_the_same_content_is_no_news() -> None:
    indices = Indices()
    indices.put("Service", child(9, a=1))
    assert not indices.put("Service", child(10, a=1))
    assert indices.put("Service", child(11, a=2))


@pytest.mark.parametrize(
    ("now", "news"),
    [
        pytest.param({}, News.NOTHING, id="only-the-version"),
        pytest.param({"status": {"replicas": 2}}, News.STATUS, id="the-status"),
        pytest.param({"spec": {"replicas": 2}}, News.MORE, id="the-spec"),
        pytest.param({"spec": {"replicas": 2}, "status": {"replicas": 2}}, News.MORE, id="the-spec-and-the-status"),
    ],
)
def test_news_say_whether_more_than_the_status_differs(now: dict[str, Any], news: News) -> None:
    indices, before = Indices(), {**child(9), "status": {"replicas": 1}}
    assert indices.put("Deployment", before) is News.MORE
    assert indices.put("Deployment", {**before, **now, "metadata": child(10)["metadata"]}) is news


def test_the_number_that_the_deployment_controller_notes_counts_as_status_and_other_notes_do_not() -> None:
    def noted(version: int, **annotations: str) -> dict[str, Any]:
        body = child(version)
        return {**body, "metadata": {**body["metadata"], "annotations": {"ours": "1", **annotations}}}

    indices = Indices()
    indices.put("Deployment", noted(9))
    assert indices.put("Deployment", noted(10, **{"deployment.kubernetes.io/revision": "1"})) is News.STATUS
    assert indices.put("Deployment", noted(11, **{"deployment.kubernetes.io/revision": "1", "ours": "2"})) is News.MORE


@pytest.mark.parametrize("kind", sorted(PACKED))
def test_what_is_packed_comes_out_as_it_went_in_and_is_nobody_elses(kind: str) -> None:
    indices = Indices()
    indices.put(kind, child(9, a=[{"b": 1.5}, None, True, "\N{SNOWMAN}"]))
    found = indices.get(kind, KEY)
    assert found == trimmed(kind, child(9, a=[{"b": 1.5}, None, True, "\N{SNOWMAN}"]))
    found["metadata"]["name"] = "edited"
    assert [body["metadata"]["name"] for body in (*indices.every(kind), *indices.of_model(kind, KEY))] == [KEY.name] * 2


def test_a_late_deletion_does_not_drop_a_younger_object() -> None:
    indices = Indices()
    indices.put("Service", child(9))
    indices.drop("Service", child(8))
    assert indices.get("Service", KEY) is not None
    indices.drop("Service", child(10))
    assert indices.get("Service", KEY) is None
    assert indices.of_model("Service", KEY) == []


@pytest.mark.parametrize("kind", ["Service", "NeuronModel"])
def test_the_answer_to_a_write_that_comes_after_the_deletion_brings_nothing_back(kind: str) -> None:
    indices = Indices()
    indices.put(kind, child(8))
    indices.drop(kind, child(10))
    assert not indices.put(kind, child(9))
    assert indices.get(kind, KEY) is None
    assert indices.put(kind, child(11))


def test_an_object_whose_label_was_taken_off_is_known_again_once_it_is_read() -> None:
    """The watch tells of it as of a deletion, at the version that it has."""
    indices = Indices()
    indices.drop("Service", child(10))
    assert indices.put("Service", child(10))


def test_so_many_deletions_are_remembered_and_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuron_operator.indices.DELETIONS_KEPT", 2)
    indices = Indices()
    for name in ("a", "b", "a", "c"):
        indices.drop("Service", child(10, name))
    assert [bool(indices.put("Service", child(9, name))) for name in ("a", "b", "c")] == [False, True, False]


def test_an_object_belongs_to_the_model_of_its_label_and_of_its_owner() -> None:
    indices, relabeled = Indices(), child(2, label="other")
    relabeled["metadata"]["ownerReferences"] = [{"kind": "NeuronModel", "name": "sentiment", "uid": "u"}]
    indices.put("Service", child(1))
    indices.put("Service", relabeled)
    for name in ("sentiment", "other"):
        assert len(indices.of_model("Service", Key("shop", name))) == 1
    indices.put("Service", child(3))
    assert indices.of_model("Service", Key("shop", "other")) == []


@pytest.mark.parametrize(
    ("status", "ready"), [({"conditions": [{"type": "Ready", "status": "True"}]}, True), ({}, False)]
)
def test_of_a_node_only_what_placement_needs_is_kept(status: dict[str, Any], ready: bool) -> None:
    labels = {"node.kubernetes.io/instance-type": "inf2.xlarge", "zone": "a"}
    allocatable = {"cpu": "4", "aws.amazon.com/neuroncore": "2"}
    body = {
        "metadata": {
            "name": "n1",
            "resourceVersion": "1",
            "labels": labels,
            "annotations": {"NEURON_CORE_USAGE_MAP": "false,true", "csi.volume.kubernetes.io/nodeid": "{}"},
        },
        "status": {**status, "allocatable": allocatable, "images": ["many"]},
    }
    assert trimmed("Node", body) == {
        "metadata": {
            "name": "n1",
            "resourceVersion": "1",
            "labels": labels,
            "annotations": {"NEURON_CORE_USAGE_MAP": "false,true"},
        },
        "spec": {"unschedulable": False, "taints": []},
        "status": {"allocatable": {"aws.amazon.com/neuroncore": "2"}, "ready": ready},
    }


@pytest.mark.parametrize(
    ("known", "listed", "gone"),
    [
        pytest.param("", "", "", id="an-empty-cluster"),
        pytest.param("", "a b", "", id="the-first-list"),
        pytest.param("a b", "a b", "", id="nothing-happened"),
        pytest.param("a b c", "b", "a c", id="deleted-in-the-gap"),
        pytest.param("a b", "", "a b", id="everything-is-gone"),
        pytest.param("a", "b", "a", id="one-for-another"),
    ],
)
def test_what_was_known_and_is_not_on_the_list_is_gone(known: str, listed: str, gone: str) -> None:
    indices = Indices()
    for name in known.split():
        indices.put("Service", child(5, name))
    listing = indices.begin_list("Service")
    for name in listed.split():
        listing.saw(child(7, name))
    assert [body["metadata"]["name"] for body in listing.gone()] == gone.split()


def test_what_became_known_while_the_list_was_on_its_way_stays_but_is_unproven() -> None:
    indices = Indices()
    for name in ("sentiment", "listed", "old"):
        indices.put("Service", child(5, name))
    listing = indices.begin_list("Service")
    indices.put("Service", child(9))
    indices.put("Service", child(10, "young"))
    indices.put("Service", child(11, "listed"))
    listing.saw(child(5, "listed"))
    for body in listing.gone():
        indices.drop("Service", body)
    assert sorted(key.name for key in indices.keys("Service")) == ["listed", "sentiment", "young"]
    assert sorted(body["metadata"]["name"] for body in listing.unproven()) == ["sentiment", "young"]


def autoscaler(version: int, target: dict[str, Any], **more: Any) -> dict[str, Any]:
    metadata = {"name": "hpa", "namespace": "shop", "resourceVersion": str(version), "annotations": {"note": "long"}}
    return {"metadata": metadata, "spec": {"scaleTargetRef": target, "maxReplicas": 5, "metrics": ["many"]}, **more}


@pytest.mark.parametrize(
    ("target", "known"),
    [
        pytest.param({"apiVersion": "apps/v1", "kind": "Deployment", "name": "sentiment"}, 1, id="our-deployment"),
        pytest.param({"apiVersion": "apps/v1", "kind": "Deployment", "name": "other"}, 0, id="another-deployment"),
        pytest.param({"kind": "NeuronModel", "name": "sentiment"}, 0, id="the-model-itself"),
        pytest.param({"kind": "StatefulSet", "name": "sentiment"}, 0, id="another-kind"),
    ],
)
def test_an_autoscaler_belongs_to_the_model_whose_deployment_it_scales(target: dict[str, str], known: int) -> None:
    indices = Indices()
    assert indices.put("HorizontalPodAutoscaler", autoscaler(1, target))
    assert len(indices.of_model("HorizontalPodAutoscaler", KEY)) == known
    indices.drop("HorizontalPodAutoscaler", autoscaler(2, target))
    assert indices.of_model("HorizontalPodAutoscaler", KEY) == []


def test_of_an_autoscaler_the_target_and_the_bounds_are_kept_and_its_status_is_no_news() -> None:
    indices, target = Indices(), {"kind": "Deployment", "name": "sentiment"}
    indices.put("HorizontalPodAutoscaler", autoscaler(1, target))
    assert not indices.put("HorizontalPodAutoscaler", autoscaler(2, target, status={"currentReplicas": 3}))
    assert indices.of_model("HorizontalPodAutoscaler", KEY) == [
        {
            "metadata": {"name": "hpa", "namespace": "shop", "resourceVersion": "2"},
            "spec": {"scaleTargetRef": target, "maxReplicas": 5},
        }
    ]
