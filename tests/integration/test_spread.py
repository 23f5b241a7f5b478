"""Where the real scheduler puts the pods that are rendered: apart, with zones and without them.

In each case the wrong node is the emptier one, so that a pod which nothing keeps away would surely go there.
"""

import uuid
from collections.abc import Iterator
from typing import Any

import pytest

from integration.api_client import Api
from local_control_plane import ControlPlane
from model_builders import model, placement_of, settings
from neuron_operator import names
from neuron_operator.render import pod_template

pytestmark = pytest.mark.integration

Body = dict[str, Any]
READY = {"type": "Ready", "status": "True", "reason": "KubeletReady", "message": ""}
ROOM = {"cpu": "4", "memory": "16Gi", "pods": "58", names.RESOURCE_NEURONCORE: "2", names.RESOURCE_NEURON: "1"}


@pytest.fixture(scope="module")
def scheduled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ControlPlane]:
    """An API server of its own with the scheduler: elsewhere it would bind pods that tests want to stay as they are."""
    control_plane = ControlPlane(tmp_path_factory.mktemp("scheduled"))
    try:
        control_plane.start()
        control_plane.start_scheduler()
        yield control_plane
    finally:
        control_plane.stop()


class Cluster:
    """Nodes of one test only, and pods of a model that may run on them and on no others."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.pods = 0

    def add_node(self, name: str, zone: str = "", instance_type: str = "inf2.xlarge") -> None:
        labels = {
            names.LABEL_INSTANCE_TYPE: instance_type,
            names.LABEL_HOSTNAME: self.full(name),
            "test": self.api.namespace,
        }
        body = {
            "apiVersion": "v1",
            "kind": "Node",
            "metadata": {"name": self.full(name), "labels": labels | ({names.LABEL_ZONE: zone} if zone else {})},
            "status": {"capacity": ROOM, "allocatable": ROOM, "conditions": [READY]},
        }
        self.api.create("nodes", body, is_namespaced=False)
        # Each new node is tainted as not ready until a controller sees that it is, and there is none here.
        self.api.merge("nodes", self.full(name), {"spec": {"taints": None}}, is_namespaced=False)

    def full(self, node: str) -> str:
        return f"{self.api.namespace}-{node}"

    def fill(self, node: str) -> None:
        """Less room than elsewhere, but enough for a replica."""
        half = {"cpu": "1", "memory": "4Gi"}
        container = {"name": "only", "image": "example.com/filler:1", "resources": {"requests": half}}
        self._create({"metadata": {}, "spec": {"containers": [container]}}, "filler", node)

    def place(self, node: str | None = None, **spec: Any) -> str:
        """One more replica of the model; the node it got."""
        placement = {"nodeSelector": {"test": self.api.namespace}, **spec.pop("placement", {})}
        found = model(neuronCores=1, placement=placement, **spec)
        name = self._create(pod_template(found, placement_of(found), settings()), "replica", node)
        bound = self.api.wait_for("pods", name, lambda body: bool(body["spec"].get("nodeName")))
        return str(bound["spec"]["nodeName"]).removeprefix(f"{self.api.namespace}-")

    def _create(self, template: Body, what: str, node: str | None) -> str:
        self.pods += 1
        name = f"{what}-{self.pods}"
        spec = template["spec"] | ({"nodeName": self.full(node)} if node else {})
        body = {"apiVersion": "v1", "kind": "Pod", "metadata": {**template["metadata"], "name": name}, "spec": spec}
        self.api.create("pods", body)
        return name


@pytest.fixture
def cluster(scheduled: ControlPlane) -> Iterator[Cluster]:
    api = Api(scheduled.kubeconfig, f"test-{uuid.uuid4().hex[:8]}")
    namespace = {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": api.namespace}}
    try:
        api.create("namespaces", namespace, is_namespaced=False)
        yield Cluster(api)
    finally:
        api.close()


def test_replicas_go_to_different_zones(cluster: Cluster) -> None:
    cluster.add_node("a1", "us-east-1a")
    cluster.add_node("a2", "us-east-1a")
    cluster.add_node("b1", "us-east-1b")
    cluster.fill("b1")
    assert cluster.place("a1") == "a1"
    assert cluster.place() == "b1"
    assert cluster.place() == "a2", "the third one gets a node of its own, too"


def test_replicas_go_to_different_nodes_where_there_are_no_zones(cluster: Cluster) -> None:
    cluster.add_node("n1")
    cluster.add_node("n2")
    cluster.fill("n2")
    assert cluster.place("n1") == "n1"
    assert cluster.place() == "n2"


def test_another_zone_counts_more_than_the_next_better_type(cluster: Cluster) -> None:
    cluster.add_node("a1", "us-east-1a")
    cluster.add_node("a2", "us-east-1a")
    cluster.add_node("b1", "us-east-1b", "inf2.8xlarge")
    assert cluster.place() in ("a1", "a2"), "the cheaper type first"
    assert cluster.place() == "b1"


def test_what_a_rollout_replaces_keeps_no_new_replica_away(cluster: Cluster) -> None:
    cluster.add_node("n1")
    cluster.add_node("n2")
    cluster.fill("n2")
    cluster.place("n2", serving={"maxBatchSize": 1})
    assert cluster.place("n1", serving={"maxBatchSize": 2}) == "n1"
    assert cluster.place(serving={"maxBatchSize": 2}) == "n2"


def test_replicas_share_a_node_where_nothing_else_is_left(cluster: Cluster) -> None:
    cluster.add_node("n1", "us-east-1a")
    assert [cluster.place(), cluster.place()] == ["n1", "n1"]


@pytest.mark.parametrize("zone", ["us-east-1a", ""], ids=["zones", "none"])
def test_replicas_without_a_spread_go_where_there_is_most_room(cluster: Cluster, zone: str) -> None:
    cluster.add_node("n1", zone)
    cluster.add_node("n2", zone)
    cluster.fill("n2")
    assert cluster.place("n1", placement={"spread": "None"}) == "n1"
    assert cluster.place(placement={"spread": "None"}) == "n1"
