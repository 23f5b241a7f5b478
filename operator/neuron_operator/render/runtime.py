"""The two containers that run the runtime's image: `fetch` brings the bundle, `runtime` serves it. Pure.

Only `runtime` asks for NeuronCores: Neuron devices can't be shared between the containers of a pod. Which cores it gets
is the device plugin's word (NEURON_RT_VISIBLE_CORES), never the template's.
"""

from typing import Any

from neuron_operator import names
from neuron_operator.api.v1alpha1 import NeuronModel, NeuronModelSpec
from neuron_operator.settings import Settings

# Loading may take many minutes and the runtime ends itself when it hangs, so the kubelet's own patience is long.
STARTUP_PERIOD_SECONDS = 1
STARTUP_BUDGET_SECONDS = 1800
# The preStop sleep drained the pod already; the user's own containers may still ask for their last answers.
DRAIN_AFTER_SIGTERM_SECONDS = 1
DRAIN_BESIDE_CONTAINERS_SECONDS = 5


def unprivileged() -> dict[str, Any]:
    """The security context of every container: no privileges to gain, none to keep."""
    return {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}}


def fetch_container(model: NeuronModel, settings: Settings) -> dict[str, Any]:
    artifact = model.spec.artifact
    container = _container(names.CONTAINER_FETCH, model.spec, settings)
    container["args"] = ["fetch", artifact.uri, names.MODEL_PATH]
    env = [_value("NEURON_RUNTIME_TERMINATION_MESSAGE_PATH", names.TERMINATION_MESSAGE_PATH)]
    if artifact.digest:
        env.append(_value("NEURON_RUNTIME_DIGEST", artifact.digest))
    container["env"] = env + _user_env(model.spec)
    secret = [{"secretRef": {"name": artifact.secret_ref.name}}] if artifact.secret_ref else []
    if env_from := secret + _user_env_from(model.spec):
        container["envFrom"] = env_from
    container["volumeMounts"] = [_mount(names.VOLUME_MODEL, names.MODEL_PATH), _mount(names.VOLUME_TMP, names.TMP_PATH)]
    if artifact.uri.startswith("pvc://"):
        container["volumeMounts"].append(_mount(names.VOLUME_CLAIM, names.CLAIM_PATH, read_only=True))
    return container


def runtime_container(model: NeuronModel, settings: Settings) -> dict[str, Any]:
    spec = model.spec
    container = _container(names.CONTAINER_RUNTIME, spec, settings)
    container["args"] = ["serve"]
    container["env"] = _runtime_env(model) + _user_env(spec)
    if env_from := _user_env_from(spec):
        container["envFrom"] = env_from
    container["ports"] = [{"name": names.PORT_NAME, "containerPort": names.RUNTIME_PORT, "protocol": "TCP"}]
    container["resources"] = _with_cores(container["resources"], spec.neuron_cores)
    container["volumeMounts"] = [
        _mount(names.VOLUME_MODEL, names.MODEL_PATH, read_only=True),
        _mount(names.VOLUME_TMP, names.TMP_PATH),
    ]
    return container | _probes() | _lifecycle(spec.rollout.drain_seconds)


def _container(name: str, spec: NeuronModelSpec, settings: Settings) -> dict[str, Any]:
    return {
        "name": name,
        "image": spec.runtime.image or settings.runtime_image,
        "imagePullPolicy": spec.runtime.image_pull_policy or settings.runtime_image_pull_policy,
        "resources": spec.resources.wire(),
        "securityContext": {**unprivileged(), "readOnlyRootFilesystem": True},
        "terminationMessagePath": names.TERMINATION_MESSAGE_PATH,
        "terminationMessagePolicy": "File",
    }


def _runtime_env(model: NeuronModel) -> list[dict[str, Any]]:
    spec = model.spec
    drain = DRAIN_BESIDE_CONTAINERS_SECONDS if spec.pod.containers else DRAIN_AFTER_SIGTERM_SECONDS
    given = {
        "BUNDLE": names.MODEL_PATH,
        "CORES": spec.neuron_cores,
        "DRAIN_SECONDS": drain,
        "MAX_BATCH_SIZE": spec.serving.max_batch_size,
        "MAX_BODY_BYTES": spec.serving.max_body_bytes,
        "MODEL_NAME": model.name,
        "PORT": names.RUNTIME_PORT,
        "QUEUE_CAPACITY_ROWS": spec.serving.queue_capacity_rows,
        "REQUEST_TIMEOUT_SECONDS": spec.serving.request_timeout_seconds,
        "TERMINATION_MESSAGE_PATH": names.TERMINATION_MESSAGE_PATH,
    }
    return [
        *(_value(f"NEURON_RUNTIME_{name}", value) for name, value in given.items() if value is not None),
        _from_field("POD_NAME", "metadata.name"),
        _from_field("POD_NAMESPACE", "metadata.namespace"),
        _from_field("NODE_NAME", "spec.nodeName"),
    ]


def _probes() -> dict[str, Any]:
    """Ready follows the workers as they are now; live only says that the front process answers."""
    live = {"httpGet": {"path": "/v2/health/live", "port": names.PORT_NAME}}
    ready = {"httpGet": {"path": "/v2/health/ready", "port": names.PORT_NAME}}
    return {
        "startupProbe": {
            **live,
            "periodSeconds": STARTUP_PERIOD_SECONDS,
            "timeoutSeconds": 5,
            "failureThreshold": STARTUP_BUDGET_SECONDS // STARTUP_PERIOD_SECONDS,
        },
        "readinessProbe": {**ready, "periodSeconds": 2, "timeoutSeconds": 3, "failureThreshold": 2},
        "livenessProbe": {**live, "periodSeconds": 10, "timeoutSeconds": 5, "failureThreshold": 3},
    }


def _lifecycle(drain_seconds: int) -> dict[str, Any]:
    """The pod goes on answering while it is taken out of the Service; a sleep of 0 is no hook at all."""
    return {"lifecycle": {"preStop": {"sleep": {"seconds": drain_seconds}}}} if drain_seconds else {}


def _with_cores(resources: dict[str, Any], neuron_cores: int) -> dict[str, Any]:
    """Extended resources can't be overcommitted: requests and limits are equal."""
    cores = {names.RESOURCE_NEURONCORE: str(neuron_cores)}
    return {kind: {**resources.get(kind, {}), **cores} for kind in ("requests", "limits")}


def _user_env(spec: NeuronModelSpec) -> list[dict[str, Any]]:
    return [variable.wire() for variable in spec.pod.env]


def _user_env_from(spec: NeuronModelSpec) -> list[dict[str, Any]]:
    return [source.wire() for source in spec.pod.env_from]


def _value(name: str, value: object) -> dict[str, Any]:
    return {"name": name, "value": str(value)}


def _from_field(name: str, path: str) -> dict[str, Any]:
    return {"name": name, "valueFrom": {"fieldRef": {"fieldPath": path}}}


def _mount(volume: str, path: str, *, read_only: bool = False) -> dict[str, Any]:
    return {"name": volume, "mountPath": path} | ({"readOnly": True} if read_only else {})
