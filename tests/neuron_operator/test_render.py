"""What every rendered child promises, whatever the model says."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from crd_cases import EVERYTHING, VALID, beside
from model_builders import UID, model, model_body, placement_of, settings
from neuron_operator import names
from neuron_operator.api import NeuronModel
from neuron_operator.api.pod import RESERVED_ENV
from neuron_operator.render import desired_children, pod_template

Body = dict[str, Any]


def template_of(found: NeuronModel, **given_settings: Any) -> Body:
    return pod_template(found, placement_of(found, **given_settings), settings(**given_settings))


def children_of(found: NeuronModel) -> dict[str, Body]:
    children = desired_children(found, template_of(found, scheduler_name="neuron-scheduler"))
    return {child["kind"]: child for child in children}


def containers_of(found: NeuronModel) -> dict[str, Body]:
    pod = template_of(found, scheduler_name="neuron-scheduler")["spec"]
    return {container["name"]: container for container in pod["initContainers"] + pod["containers"]}


def env_of(container: Body) -> dict[str, str]:
    return {variable["name"]: variable.get("value", "") for variable in container["env"]}


def strings_in(node: Any) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield from (key, *strings_in(value))
    elif isinstance(node, list):
        for value in node:
            yield from strings_in(value)
    elif isinstance(node, str):
        yield node


EVERY_MODEL = [pytest.param(model(case.name, **case.spec), id=case.id) for case in VALID if "operator" not in case.id]


@pytest.mark.parametrize("found", EVERY_MODEL)
def test_every_child_belongs_to_the_model(found: NeuronModel) -> None:
    children = children_of(found)
    assert list(children) == ["Deployment", "Service", "PodDisruptionBudget"]
    for child in children.values():
        assert child["metadata"]["name"] == found.name
        assert child["metadata"]["namespace"] == found.namespace
        assert child["metadata"]["labels"] == names.child_labels(found.name)
        assert child["metadata"]["ownerReferences"] == [
            {
                "apiVersion": "neuron-serving.dev/v1alpha1",
                "kind": "NeuronModel",
                "name": found.name,
                "uid": UID,
                "controller": True,
                "blockOwnerDeletion": True,
            }
        ]


@pytest.mark.parametrize("found", EVERY_MODEL)
def test_only_the_runtime_asks_for_cores_and_nobody_picks_them(found: NeuronModel) -> None:
    for name, container in containers_of(found).items():
        resources = container.get("resources", {})
        for kind in ("requests", "limits"):
            asked = {key: value for key, value in resources.get(kind, {}).items() if "neuron" in key}
            expected = {"aws.amazon.com/neuroncore": str(found.spec.neuron_cores)} if name == "runtime" else {}
            assert asked == expected
    assert "NEURON_RT_VISIBLE_CORES" not in set(strings_in(template_of(found, scheduler_name="x")))


@pytest.mark.parametrize("found", EVERY_MODEL)
def test_no_container_has_or_gains_privileges(found: NeuronModel) -> None:
    for container in containers_of(found).values():
        security = container["securityContext"]
        assert security["allowPrivilegeEscalation"] is False
        assert security["capabilities"] == {"drop": ["ALL"]}
    ours = containers_of(found)
    assert all(ours[name]["securityContext"]["readOnlyRootFilesystem"] for name in ("fetch", "runtime"))
    pod = template_of(found, scheduler_name="x")["spec"]
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert not {"hostNetwork", "hostPID", "hostIPC"} & pod.keys()
    assert "hostPath" not in set(strings_in(pod["volumes"]))


def test_labels_and_annotations_of_the_owner_never_reach_a_child() -> None:
    body = model_body()
    tracking = {"argocd.argoproj.io/instance": "apps", "app.kubernetes.io/instance": "apps", "team": "search"}
    body["metadata"] |= {"labels": tracking, "annotations": {"kubectl.kubernetes.io/last-applied-configuration": "{}"}}
    seen = set(strings_in(list(children_of(NeuronModel.parse(body)).values())))
    assert not seen & {
        "argocd.argoproj.io/instance",
        "apps",
        "team",
        "kubectl.kubernetes.io/last-applied-configuration",
    }


def test_user_labels_are_added_to_pods_and_never_change_the_selector() -> None:
    found = model(pod={"labels": {"team": "search"}})
    labels = template_of(found)["metadata"]["labels"]
    del labels[names.LABEL_TEMPLATE]
    assert labels == {"team": "search"} | names.child_labels("sentiment")
    selector = {"neuron-serving.dev/model": "sentiment"}
    children = children_of(found)
    assert children["Deployment"]["spec"]["selector"] == {"matchLabels": selector}
    assert children["PodDisruptionBudget"]["spec"]["selector"] == {"matchLabels": selector}
    assert children["Service"]["spec"]["selector"] == selector


@pytest.mark.parametrize(
    ("mode", "expected"),
    [("InPlace", {"maxSurge": 0, "maxUnavailable": 1}), ("Surge", {"maxSurge": 1, "maxUnavailable": 0})],
)
def test_rollout_mode_sets_both_numbers(mode: str, expected: Body) -> None:
    strategy = children_of(model(rollout={"mode": mode}))["Deployment"]["spec"]["strategy"]
    assert strategy == {"type": "RollingUpdate", "rollingUpdate": expected}


@pytest.mark.parametrize(("spec", "expected"), [({"replicas": 4}, 4), ({"replicas": 4, "suspend": True}, 0)])
def test_the_deployment_has_the_wanted_replicas(spec: Body, expected: int) -> None:
    assert children_of(model(**spec))["Deployment"]["spec"]["replicas"] == expected


@hypothesis_settings(max_examples=30)
@given(drain=st.integers(0, 3600), timeout=st.integers(1, 3600), sidecar=st.booleans())
def test_the_grace_period_covers_drain_and_the_longest_request(drain: int, timeout: int, sidecar: bool) -> None:
    spec: Body = {"rollout": {"drainSeconds": drain}, "serving": {"requestTimeoutSeconds": timeout}}
    found = model(**spec, **(beside() if sidecar else {}))
    assert template_of(found)["spec"]["terminationGracePeriodSeconds"] == drain + timeout + 5
    for container in template_of(found)["spec"]["containers"]:
        sleep = {"preStop": {"sleep": {"seconds": drain}}}
        assert container.get("lifecycle") == (sleep if drain else None)


def test_the_runtime_is_told_what_the_spec_says() -> None:
    env = env_of(containers_of(model(**EVERYTHING))["runtime"])
    assert env["NEURON_RUNTIME_MODEL_NAME"] == "sentiment"
    assert env["NEURON_RUNTIME_CORES"] == "12"
    assert env["NEURON_RUNTIME_MAX_BATCH_SIZE"] == "8"
    assert env["NEURON_RUNTIME_QUEUE_CAPACITY_ROWS"] == "512"
    assert env["NEURON_RUNTIME_REQUEST_TIMEOUT_SECONDS"] == "20"
    assert env["NEURON_RUNTIME_MAX_BODY_BYTES"] == "1048576"


def test_what_the_spec_leaves_out_is_left_to_the_runtime() -> None:
    env = env_of(containers_of(model())["runtime"])
    assert not {"NEURON_RUNTIME_MAX_BATCH_SIZE", "NEURON_RUNTIME_QUEUE_CAPACITY_ROWS"} & env.keys()


@pytest.mark.parametrize("found", EVERY_MODEL)
def test_a_variable_the_operator_sets_is_one_that_users_cannot(found: NeuronModel) -> None:
    users = {variable.name for variable in found.spec.pod.env}
    containers = containers_of(found)
    for name in ("fetch", "runtime"):
        listed = [variable["name"] for variable in containers[name]["env"]]
        assert len(listed) == len(set(listed))
        assert set(listed) - users <= set(RESERVED_ENV)


def test_credentials_of_the_artifact_reach_fetch_and_nothing_else() -> None:
    found = model(artifact={"uri": "s3://b/x", "secretRef": {"name": "store"}}, **beside())
    holders = [name for name, container in containers_of(found).items() if "store" in set(strings_in(container))]
    assert holders == ["fetch"]


def test_a_claim_is_mounted_read_only_where_fetch_looks_for_it() -> None:
    found = model(artifact={"uri": "pvc://models/sentiment/3"})
    pod = template_of(found)["spec"]
    claim = {"name": "artifact-claim", "persistentVolumeClaim": {"claimName": "models", "readOnly": True}}
    assert claim in pod["volumes"]
    mount = {"name": "artifact-claim", "mountPath": "/mnt/pvc", "readOnly": True}
    assert mount in containers_of(found)["fetch"]["volumeMounts"]
    assert mount not in containers_of(found)["runtime"]["volumeMounts"]


@pytest.mark.parametrize(
    ("target", "expected"),
    [(None, "http"), (9000, 9000), ("http", "http")],
)
def test_the_service_leads_to_the_runtime_unless_told_otherwise(target: int | str | None, expected: int | str) -> None:
    service: Body = {"service": {"targetPort": target}} if target else {}
    port = children_of(model(**service))["Service"]["spec"]["ports"][0]
    assert (port["port"], port["targetPort"]) == (80, expected)


def test_replicas_prefer_zones_before_nodes_and_count_only_pods_of_their_own_template() -> None:
    template = template_of(model())
    spread = template["spec"]["topologySpreadConstraints"]
    assert [(rule["topologyKey"], rule["maxSkew"]) for rule in spread] == [
        ("topology.kubernetes.io/zone", 1),
        ("kubernetes.io/hostname", 1),
    ]
    assert {rule["whenUnsatisfiable"] for rule in spread} == {"ScheduleAnyway"}
    anti_affinity = template["spec"]["affinity"]["podAntiAffinity"]
    assert list(anti_affinity) == ["preferredDuringSchedulingIgnoredDuringExecution"]
    [apart] = anti_affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    assert apart["podAffinityTerm"]["topologyKey"] == "kubernetes.io/hostname"
    selectors = [rule["labelSelector"] for rule in (*spread, apart["podAffinityTerm"])]
    chosen = {key: template["metadata"]["labels"][key] for key in (names.LABEL_MODEL, names.LABEL_TEMPLATE)}
    assert selectors == [{"matchLabels": chosen}] * 3


def test_another_template_has_another_label_so_that_a_rollout_does_not_count_what_it_replaces() -> None:
    labels = [
        template_of(model(serving={"maxBatchSize": size}))["metadata"]["labels"][names.LABEL_TEMPLATE]
        for size in (1, 2)
    ]
    assert labels[0] != labels[1]


def test_without_a_spread_nothing_keeps_replicas_apart() -> None:
    template = template_of(model(placement={"spread": "None"}))
    assert "topologySpreadConstraints" not in template["spec"]
    assert list(template["spec"]["affinity"]) == ["nodeAffinity"]
    assert names.LABEL_TEMPLATE not in template["metadata"]["labels"]


def test_an_api_token_is_mounted_only_for_a_named_service_account() -> None:
    assert template_of(model())["spec"]["automountServiceAccountToken"] is False
    named = template_of(model(pod={"serviceAccountName": "reader"}))["spec"]
    assert (named["automountServiceAccountToken"], named["serviceAccountName"]) == (True, "reader")


def test_images_come_from_the_model_else_from_the_settings() -> None:
    assert containers_of(model())["fetch"]["image"] == "example.com/runtime:1"
    own = containers_of(model(runtime={"image": "example.com/own:2", "imagePullPolicy": "Never"}))
    assert {own[name]["image"] for name in ("fetch", "runtime")} == {"example.com/own:2"}
    assert {own[name]["imagePullPolicy"] for name in ("fetch", "runtime")} == {"Never"}


changes_outside_the_template = st.fixed_dictionaries(
    {},
    optional={
        "replicas": st.integers(0, 5),
        "suspend": st.booleans(),
        "rollout": st.fixed_dictionaries({"mode": st.sampled_from(["Surge", "InPlace"])}),
        "service": st.just({"targetPort": 9000}),
    },
)


@hypothesis_settings(max_examples=30)
@given(changes_outside_the_template)
def test_scaling_suspending_and_rollout_mode_never_touch_the_template(changes: Body) -> None:
    before, after = model(), model(**changes)
    assert before.spec.template_intent() == after.spec.template_intent()
    assert template_of(before) == template_of(after)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"artifact": {"uri": "s3://models/sentiment/4/"}}, id="artifact"),
        pytest.param({"neuronCores": 1}, id="cores"),
        pytest.param({"rollout": {"drainSeconds": 1}}, id="drain"),
        pytest.param({"serving": {"maxBatchSize": 4}}, id="serving"),
        pytest.param({"placement": {"instanceTypes": ["inf2.xlarge"]}}, id="placement"),
        pytest.param({"resources": {"requests": {"cpu": "1"}}}, id="resources"),
        pytest.param({"pod": {"labels": {"a": "b"}}}, id="labels"),
        pytest.param({"runtime": {"image": "example.com/own:2"}}, id="image"),
    ],
)
def test_what_changes_the_pods_changes_the_intent(changes: Body) -> None:
    before, after = model(), model(**changes)
    assert before.spec.template_intent() != after.spec.template_intent()
    assert template_of(before) != template_of(after)


def test_rendering_twice_shares_nothing_that_could_be_changed_by_accident() -> None:
    found = model(**EVERYTHING)
    first, second = template_of(found), template_of(found)
    first["spec"]["tolerations"][0]["key"] = "changed"
    first["spec"]["containers"][0]["securityContext"]["capabilities"]["drop"].clear()
    assert second == template_of(found)
