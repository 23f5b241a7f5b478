"""The pod template: fetch, runtime and the user's own containers. Pure; the caller freezes it in a revision."""

from typing import Any

from neuron_operator import names
from neuron_operator.api.container import Container
from neuron_operator.api.v1alpha1 import NeuronModel
from neuron_operator.changes import desired_hash
from neuron_operator.placement import Placement
from neuron_operator.render.runtime import fetch_container, runtime_container, unprivileged
from neuron_operator.settings import Settings

# The kubelet kills what is left when this is over; a few seconds more than the longest request that may be in flight.
GRACE_MARGIN_SECONDS = 5
CLAIM_SCHEME = "pvc://"


def pod_template(model: NeuronModel, placement: Placement, settings: Settings) -> dict[str, Any]:
    """The template of the Deployment: metadata (labels, annotations) and spec."""
    spec = model.spec
    metadata: dict[str, Any] = {"labels": {**spec.pod.labels, **names.child_labels(model.name)}}
    if spec.pod.annotations:
        metadata["annotations"] = dict(spec.pod.annotations)
    template = {"metadata": metadata, "spec": _pod_spec(model, placement, settings)}
    return template if spec.placement.spread == "None" else _spread(template, model.name)


def _pod_spec(model: NeuronModel, placement: Placement, settings: Settings) -> dict[str, Any]:
    spec, pod = model.spec, model.spec.pod
    drain_seconds = spec.rollout.drain_seconds
    rendered: dict[str, Any] = {
        "automountServiceAccountToken": pod.service_account_name is not None,
        # A Service called neuron-runtime would otherwise set NEURON_RUNTIME_PORT in every pod of its namespace.
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": drain_seconds + spec.serving.request_timeout_seconds + GRACE_MARGIN_SECONDS,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": names.RUN_AS_ID,
            "runAsGroup": names.RUN_AS_ID,
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "affinity": {"nodeAffinity": placement.node_affinity},
        "tolerations": [dict(toleration) for toleration in placement.tolerations],
        "initContainers": [fetch_container(model, settings)],
        "containers": [
            runtime_container(model, settings),
            *(_user_container(container, drain_seconds) for container in pod.containers),
        ],
        "volumes": _volumes(model),
    }
    optional = {
        "serviceAccountName": pod.service_account_name,
        "schedulerName": placement.scheduler_name,
        "priorityClassName": spec.placement.priority_class_name,
        "nodeSelector": dict(spec.placement.node_selector),
        "imagePullSecrets": [secret.wire() for secret in pod.image_pull_secrets],
    }
    return rendered | {key: value for key, value in optional.items() if value}


def _spread(template: dict[str, Any], model_name: str) -> dict[str, Any]:
    """Pods of this template in different zones and on different nodes, where that is possible.

    Only pods of the same template count, so that a rollout spreads evenly too. Karpenter gives up the first constraint
    first, so nodes come after zones. The preference says the same of nodes once more, because the scheduler leaves out
    every soft constraint on nodes that lack the label of one, and there are clusters without zones.
    """
    metadata, spec = template["metadata"], template["spec"]
    template_label = {names.LABEL_TEMPLATE: desired_hash(template)}
    of_template = {"matchLabels": {**names.selector(model_name), **template_label}}
    apart = {"topologyKey": names.LABEL_HOSTNAME, "labelSelector": of_template}
    constraints = [
        {"maxSkew": 1, "topologyKey": key, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": of_template}
        for key in (names.LABEL_ZONE, names.LABEL_HOSTNAME)
    ]
    preferred = [{"weight": 100, "podAffinityTerm": apart}]
    anti_affinity = {"podAntiAffinity": {"preferredDuringSchedulingIgnoredDuringExecution": preferred}}
    return {
        "metadata": {**metadata, "labels": {**metadata["labels"], **template_label}},
        "spec": {**spec, "affinity": {**spec["affinity"], **anti_affinity}, "topologySpreadConstraints": constraints},
    }


def _user_container(container: Container, drain_seconds: int) -> dict[str, Any]:
    """As written, without privileges, and answering as long as the runtime does after the pod was told to stop."""
    rendered = container.wire()
    rendered["securityContext"] = {**unprivileged(), **rendered.get("securityContext", {})}
    if drain_seconds:
        rendered["lifecycle"] = {"preStop": {"sleep": {"seconds": drain_seconds}}}
    return rendered


def _volumes(model: NeuronModel) -> list[dict[str, Any]]:
    volumes: list[dict[str, Any]] = [
        {"name": names.VOLUME_MODEL, "emptyDir": {}},
        {"name": names.VOLUME_TMP, "emptyDir": {}},
    ]
    if claim := claim_name(model):
        volumes.append({"name": names.VOLUME_CLAIM, "persistentVolumeClaim": {"claimName": claim, "readOnly": True}})
    return volumes + [volume.wire() for volume in model.spec.pod.volumes]


def claim_name(model: NeuronModel) -> str | None:
    """The PersistentVolumeClaim that a pvc:// artifact lies on."""
    uri = model.spec.artifact.uri
    return uri.removeprefix(CLAIM_SCHEME).partition("/")[0] if uri.startswith(CLAIM_SCHEME) else None
