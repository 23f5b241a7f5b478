"""The ways a NeuronModel gets to a real API server: client-side and server-side apply, and each field validation."""

import json
from typing import Any

import pytest

from crd_cases import LONGEST_NAME
from integration.api_client import Api
from integration.conftest import install_crd
from local_control_plane import ControlPlane
from model_builders import model_body

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

WAYS: dict[str, tuple[str, ...]] = {"client-side": (), "server-side": ("--server-side",)}
MISSPELT: dict[str, Any] = {"neuronCors": 2, "rollout": {"drainSecond": 3}}
UNICODE = "Übergröße 漢字 🙂 \u200f\u0301"


@pytest.fixture(scope="module")
def cluster(api_server: ControlPlane) -> ControlPlane:
    install_crd(api_server)
    return api_server


@pytest.fixture
def namespace(cluster: ControlPlane, api: Api) -> str:
    return api.namespace


@pytest.fixture(params=list(WAYS.values()), ids=list(WAYS))
def way(request: pytest.FixtureRequest) -> tuple[str, ...]:
    flags: tuple[str, ...] = request.param
    return flags


def apply(cluster: ControlPlane, body: dict[str, Any], *flags: str) -> Any:
    return cluster.kubectl("apply", "-f", "-", *flags, given=json.dumps(body), check=False)


def written(namespace: str, name: str = "case", **spec: Any) -> dict[str, Any]:
    body = model_body(name, namespace=namespace, **spec)
    body["metadata"] = {"name": name, "namespace": namespace}
    return body


def test_a_field_taken_out_of_the_manifest_goes_and_a_second_apply_changes_nothing(
    cluster: ControlPlane, namespace: str, api: Api, way: tuple[str, ...]
) -> None:
    env = [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}]
    assert apply(cluster, written(namespace, replicas=3, pod={"env": env}), *way).returncode == 0
    assert apply(cluster, written(namespace, pod={"env": env[1:]}), *way).returncode == 0
    found = api.get("neuronmodels", "case")
    assert (found["spec"]["replicas"], found["spec"]["pod"]["env"]) == (1, env[1:])
    assert apply(cluster, written(namespace, pod={"env": env[1:]}), *way).returncode == 0
    again = api.get("neuronmodels", "case")
    assert again["metadata"]["resourceVersion"] == found["metadata"]["resourceVersion"]


def test_two_managers_of_a_list_keep_their_own_items(cluster: ControlPlane, namespace: str, api: Api) -> None:
    for manager, name in (("team", "A"), ("platform", "B")):
        env = [{"name": name, "value": "1"}]
        body = written(namespace, pod={"env": env})
        assert apply(cluster, body, "--server-side", f"--field-manager={manager}").returncode == 0
    assert {var["name"] for var in api.get("neuronmodels", "case")["spec"]["pod"]["env"]} == {"A", "B"}


def test_the_scale_of_an_autoscaler_survives_an_apply_that_does_not_name_replicas(
    cluster: ControlPlane, namespace: str, api: Api, way: tuple[str, ...]
) -> None:
    assert apply(cluster, written(namespace), *way).returncode == 0
    api.merge("neuronmodels", "case", {"spec": {"replicas": 4}}, "/scale")
    assert apply(cluster, written(namespace, suspend=True), *way).returncode == 0
    assert api.get("neuronmodels", "case")["spec"]["replicas"] == 4


def test_an_invalid_model_is_refused_in_our_words(
    cluster: ControlPlane, namespace: str, api: Api, way: tuple[str, ...]
) -> None:
    refused = apply(cluster, written(namespace, artifact={"uri": "ftp://x/"}, neuronCores=25), *way)
    assert refused.returncode != 0
    assert "artifact.uri must be s3://BUCKET/PATH" in refused.stderr
    assert "neuronCores must be 1 to 24" in refused.stderr
    assert api.find("neuronmodels", "case") is None


def test_a_valid_model_does_not_become_an_invalid_one(
    cluster: ControlPlane, namespace: str, api: Api, way: tuple[str, ...]
) -> None:
    assert apply(cluster, written(namespace), *way).returncode == 0
    refused = apply(cluster, written(namespace, replicas=-1), *way)
    assert "spec.replicas" in refused.stderr
    assert api.get("neuronmodels", "case")["spec"]["replicas"] == 1


@pytest.mark.parametrize(
    ("validation", "is_taken"), [("strict", False), ("warn", True), ("ignore", True)], ids=["strict", "warn", "ignore"]
)
def test_unknown_fields_are_refused_or_dropped_as_asked(
    cluster: ControlPlane, namespace: str, api: Api, way: tuple[str, ...], validation: str, is_taken: bool
) -> None:
    """A structured-merge apply knows no field that the schema does not: server-side apply refuses in any case."""
    ran = apply(cluster, written(namespace, **MISSPELT), f"--validate={validation}", *way)
    is_taken = is_taken and not way
    assert (ran.returncode == 0) == is_taken, ran.stderr
    if not is_taken:
        assert "neuronCors" in ran.stderr
        assert api.find("neuronmodels", "case") is None
        return
    assert ("neuronCors" in ran.stderr) == (validation == "warn")
    spec = api.get("neuronmodels", "case")["spec"]
    assert "neuronCors" not in spec
    assert "drainSecond" not in spec["rollout"]


def test_the_longest_name_is_stored_and_one_more_is_refused(
    cluster: ControlPlane, namespace: str, api: Api, way: tuple[str, ...]
) -> None:
    assert apply(cluster, written(namespace, LONGEST_NAME), *way).returncode == 0
    refused = apply(cluster, written(namespace, LONGEST_NAME + "x"), *way)
    assert "metadata.name must be at most 52 characters" in refused.stderr


def test_text_of_any_script_is_stored_as_written_where_text_is_free(
    cluster: ControlPlane, namespace: str, api: Api, way: tuple[str, ...]
) -> None:
    pod = {"annotations": {"example.com/note": UNICODE}, "env": [{"name": "NOTE", "value": UNICODE}]}
    assert apply(cluster, written(namespace, pod=pod), *way).returncode == 0
    assert api.get("neuronmodels", "case")["spec"]["pod"] == pod


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"pod": {"labels": {"team": "größe"}}}, id="label"),
        pytest.param({"pod": {"labels": {"größe": "a"}}}, id="label-key"),
        pytest.param({"runtime": {"image": "example.com/größe:1"}}, id="image"),
        pytest.param({"runtime": {"image": "example.com/a\u00a0b:1"}}, id="image-with-a-space-beyond-ascii"),
        pytest.param({"placement": {"schedulerName": "größe"}}, id="scheduler"),
    ],
)
def test_letters_beyond_ascii_are_refused_where_kubernetes_knows_none(
    cluster: ControlPlane, namespace: str, spec: dict[str, Any]
) -> None:
    ((field, inner),) = spec.items()
    assert f"spec.{field}.{next(iter(inner))}" in apply(cluster, written(namespace, **spec)).stderr


def test_the_largest_maps_and_lists_that_fit_one_object_are_stored(
    cluster: ControlPlane, namespace: str, api: Api
) -> None:
    """Server-side: for a client-side apply the whole manifest has to fit an annotation of 256 KiB."""
    env = [{"name": f"V{number}", "value": "x" * 8192} for number in range(64)]
    annotations = {f"example.com/{number}": "x" * 4096 for number in range(32)}
    labels = {f"example.com/{number}": "x" * 63 for number in range(32)}
    body = written(namespace, pod={"env": env, "annotations": annotations, "labels": labels})
    assert apply(cluster, body, "--server-side").returncode == 0
    assert api.get("neuronmodels", "case")["spec"]["pod"] == body["spec"]["pod"]


def test_a_map_with_thousands_of_keys_is_refused_by_its_limit(cluster: ControlPlane, namespace: str) -> None:
    labels = {f"example.com/{number}": "x" for number in range(5000)}
    refused = apply(cluster, written(namespace, pod={"labels": labels}), "--server-side")
    assert "spec.pod.labels" in refused.stderr
    assert "32" in refused.stderr
