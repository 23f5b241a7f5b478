"""The CRD on a real API server: what it accepts, refuses, defaults and scales, and what the operator renders."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from crd_cases import EVERYTHING, INVALID, VALID, Case
from integration.api_client import Api
from local_control_plane import ControlPlane
from model_builders import UID, model_body, settings
from neuron_operator.api import NeuronModel
from neuron_operator.placement import Rejection, choose_placement
from neuron_operator.render import desired_children, pod_template

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

CRD = Path(__file__).parents[2] / "crds" / "neuronmodels.neuron-serving.dev.yaml"


@pytest.fixture(scope="module")
def cluster(api_server: ControlPlane) -> ControlPlane:
    api_server.kubectl("apply", "--server-side", "-f", str(CRD))
    api_server.kubectl("wait", "--for=condition=Established", "crd", "neuronmodels.neuron-serving.dev")
    return api_server


def create(cluster: ControlPlane, body: dict[str, Any], *options: str) -> Any:
    return cluster.kubectl("create", "-f", "-", *options, given=json.dumps(body), check=False)


def test_the_crd_is_structural_and_no_larger_than_promised(cluster: ControlPlane) -> None:
    found = json.loads(cluster.kubectl("get", "crd", "neuronmodels.neuron-serving.dev", "-o", "json").stdout)
    conditions = {condition["type"]: condition["status"] for condition in found["status"]["conditions"]}
    assert conditions.get("NonStructuralSchema", "False") == "False"
    assert conditions["NamesAccepted"] == "True"
    assert CRD.stat().st_size < 100_000


@pytest.fixture(scope="module")
def api(cluster: ControlPlane) -> Iterator[Api]:
    client = Api(cluster.kubeconfig, "default")
    yield client
    client.close()


@pytest.mark.parametrize("case", VALID, ids=lambda case: case.id)
def test_the_api_server_accepts_a_valid_model(api: Api, case: Case) -> None:
    answer = api.try_create("neuronmodels", case.body)
    assert answer.status_code == 201, answer.text


@pytest.mark.parametrize("case", INVALID, ids=lambda case: case.id)
def test_the_api_server_refuses_an_invalid_model_in_our_words(api: Api, case: Case) -> None:
    answer = api.try_create("neuronmodels", case.body)
    assert answer.status_code in (400, 422)
    assert case.words in answer.json()["message"]


@pytest.mark.parametrize("case", [case for case in INVALID if case.id == "host-path"], ids=lambda case: case.id)
def test_a_dropped_unknown_field_still_does_not_slip_through(cluster: ControlPlane, case: Case) -> None:
    created = create(cluster, case.body, "--dry-run=server", "--validate=false")
    assert "hostPath and other kinds are not offered" in created.stderr


def test_defaults_are_filled_in_and_nothing_looks_ready_before_the_operator_looked(cluster: ControlPlane) -> None:
    found = json.loads(create(cluster, model_body(namespace="default"), "--dry-run=server", "-o", "json").stdout)
    assert found["spec"] == {
        "artifact": {"uri": "s3://models/sentiment/3/"},
        "neuronCores": 2,
        "replicas": 1,
        "suspend": False,
        "placement": {"spread": "Preferred"},
        "serving": {"requestTimeoutSeconds": 30},
        "rollout": {
            "mode": "Auto",
            "maxUnavailable": 1,
            "acceptCoreLoss": False,
            "autoRollback": False,
            "drainSeconds": 15,
            "progressDeadlineSeconds": 1800,
        },
        "resources": {"requests": {"cpu": "250m", "memory": "512Mi"}},
        "runtime": {"upgradePolicy": "Manual"},
    }
    assert found["status"] == {"observedGeneration": -1}


def test_defaults_of_the_api_server_and_of_the_types_are_the_same_model(cluster: ControlPlane) -> None:
    written = model_body(namespace="default")
    stored = json.loads(create(cluster, written, "--dry-run=server", "-o", "json").stdout)
    assert NeuronModel.parse(stored, strict=True).spec == NeuronModel.parse(written).spec


def test_everything_that_may_be_written_is_stored_and_read_back_whole(cluster: ControlPlane) -> None:
    written = Case("everything", EVERYTHING).body
    stored = json.loads(create(cluster, written, "--dry-run=server", "-o", "json").stdout)
    assert NeuronModel.parse(stored, strict=True).spec == NeuronModel.parse(written, strict=True).spec


def test_kubectl_scale_writes_replicas_and_reads_the_status(cluster: ControlPlane) -> None:
    create(cluster, model_body("scaled", namespace="default"))
    status = {"status": {"observedGeneration": 1, "replicas": 1, "selector": "neuron-serving.dev/model=scaled"}}
    cluster.kubectl("patch", "nm", "scaled", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    cluster.kubectl("scale", "neuronmodel", "scaled", "--replicas=3")
    path = "/apis/neuron-serving.dev/v1alpha1/namespaces/default/neuronmodels/scaled/scale"
    scale = json.loads(cluster.kubectl("get", "--raw", path).stdout)
    assert scale["spec"]["replicas"] == 3
    assert scale["status"] == {"replicas": 1, "selector": "neuron-serving.dev/model=scaled"}


def test_get_shows_what_a_person_wants_to_know(cluster: ControlPlane) -> None:
    create(cluster, model_body("shown", namespace="default"))
    ready = {
        "type": "Ready",
        "status": "False",
        "reason": "ArtifactNotFound",
        "message": "nothing at s3://models/x/",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
        "observedGeneration": 1,
    }
    url = "http://shown.default.svc"
    status = {"status": {"observedGeneration": 1, "conditions": [ready], "summary": "0/1", "url": url}}
    cluster.kubectl("patch", "nm", "shown", "--subresource=status", "--type=merge", "-p", json.dumps(status))
    header, row = cluster.kubectl("get", "nm", "shown").stdout.splitlines()
    assert header.split() == ["NAME", "READY", "REASON", "CORES", "REPLICAS", "URL", "AGE"]
    assert row.split()[:-1] == ["shown", "False", "ArtifactNotFound", "2", "0/1", url]
    assert "nothing at s3://models/x/" in cluster.kubectl("get", "inference", "-o", "wide").stdout


def test_explain_describes_every_field(cluster: ControlPlane) -> None:
    spec = cluster.kubectl("explain", "neuronmodel.spec").stdout
    assert "NeuronCores of each replica, 1 to 24" in " ".join(spec.split())
    everything = cluster.kubectl("explain", "neuronmodel.spec", "--recursive").stdout
    assert "progressDeadlineSeconds" in everything
    drain = cluster.kubectl("explain", "neuronmodel.spec.rollout.drainSeconds").stdout
    assert "0 to 3,600" in drain


def test_what_is_rendered_is_valid_and_applies_twice_without_a_change(cluster: ControlPlane) -> None:
    cluster.kubectl("create", "namespace", "rendered")
    children = [child for case in VALID if "operator" not in case.id for child in rendered(case)]
    apply = ("apply", "--server-side", "--force-conflicts", "--field-manager=neuron-serving", "-f", "-", "-o", "json")
    given = yaml.safe_dump_all(children)
    first = json.loads(cluster.kubectl(*apply, given=given).stdout)
    second = json.loads(cluster.kubectl(*apply, given=given).stdout)
    assert len(first["items"]) == len(children) > 3 * 10
    assert versions(first) == versions(second)


def rendered(case: Case) -> tuple[dict[str, Any], ...]:
    body = case.body
    body["metadata"] = {"name": case.id, "namespace": "rendered", "uid": UID}
    model = NeuronModel.parse(body, strict=True)
    placement = choose_placement(model.spec, settings(scheduler_name="neuron-scheduler"))
    assert not isinstance(placement, Rejection)
    return desired_children(model, pod_template(model, placement, settings()))


def versions(applied: dict[str, Any]) -> list[str]:
    return [item["metadata"]["resourceVersion"] for item in applied["items"]]
