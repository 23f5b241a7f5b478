"""The listed subset of pod fields that spec.pod offers: environment, volumes, the user's own containers. Pure.

A subset, not a pod template: nothing here reaches the host, and only the runtime ever asks for NeuronCores. Field names
and meanings are those of core/v1, so what is written here is rendered as it stands.
"""

import re
from typing import Annotated, Literal

from pydantic import Field

from neuron_operator import names
from neuron_operator.api import shapes
from neuron_operator.api.rules import Rule
from neuron_operator.api.shapes import ApiModel, DnsLabel, DnsSubdomain, FilePath, Quantity

HOST_RESOURCES = ("cpu", "ephemeral-storage", "memory")
# The operator writes these itself, or a field of the spec does; a second writer would only contradict it.
RESERVED_ENV = (
    "NEURON_RT_VISIBLE_CORES",
    "NEURON_RUNTIME_BUNDLE",
    "NEURON_RUNTIME_CORES",
    "NEURON_RUNTIME_DIGEST",
    "NEURON_RUNTIME_DRAIN_SECONDS",
    "NEURON_RUNTIME_MAX_BATCH_SIZE",
    "NEURON_RUNTIME_MAX_BODY_BYTES",
    "NEURON_RUNTIME_MODEL_NAME",
    "NEURON_RUNTIME_PORT",
    "NEURON_RUNTIME_QUEUE_CAPACITY_ROWS",
    "NEURON_RUNTIME_REQUEST_TIMEOUT_SECONDS",
    "NEURON_RUNTIME_TERMINATION_MESSAGE_PATH",
    "NODE_NAME",
    "POD_NAME",
    "POD_NAMESPACE",
)
RESERVED_VOLUMES = (names.VOLUME_MODEL, names.VOLUME_TMP, names.VOLUME_CLAIM)
RESERVED_CONTAINERS = (names.CONTAINER_RUNTIME, names.CONTAINER_FETCH)
RESERVED_LABELS = (names.LABEL_NAME, names.LABEL_INSTANCE, names.LABEL_MANAGED_BY)


def cel_list(values: tuple[str, ...]) -> str:
    return "[" + ", ".join(f"'{value}'" for value in values) + "]"


def _exactly_one(*fields: str) -> tuple[str, tuple[str, ...]]:
    """CEL for "exactly one of these is set", and the Python names to count."""
    tests = " + ".join(f"(has(self.{field}) ? 1 : 0)" for field in fields)
    return f"{tests} == 1", tuple("".join(f"_{c.lower()}" if c.isupper() else c for c in field) for field in fields)


def one_of(message: str, *fields: str) -> Rule:
    cel, attributes = _exactly_one(*fields)
    return Rule(cel, message, lambda value: sum(getattr(value, name) is not None for name in attributes) == 1)


class FieldRef(ApiModel):
    field_path: str = Field(
        max_length=341,
        pattern=rf"^(metadata\.(name|namespace|uid|(labels|annotations)\['{shapes.QUALIFIED_KEY}'\])"
        r"|spec\.(nodeName|serviceAccountName)|status\.(hostIP|hostIPs|podIP|podIPs))$",
        description="Field of the pod, such as metadata.name, spec.nodeName or status.podIP.",
    )


class KeyRef(ApiModel):
    name: DnsSubdomain = Field(description="Name of the object, in the model's namespace.")
    key: str = Field(
        min_length=1, max_length=253, pattern=r"^[.]?[-_a-zA-Z0-9][-._a-zA-Z0-9]*$", description="Key within it."
    )
    optional: bool | None = Field(default=None, description="Start the container even if the object or key is missing.")


class EnvValueFrom(ApiModel):
    field_ref: FieldRef | None = Field(default=None, description="A field of the pod.")
    config_map_key_ref: KeyRef | None = Field(default=None, description="A key of a ConfigMap.")
    secret_key_ref: KeyRef | None = Field(default=None, description="A key of a Secret.")


class EnvVar(ApiModel):
    name: str = Field(
        min_length=1,
        max_length=253,
        pattern=r"^([-_a-zA-Z]|[.][-_a-zA-Z0-9])[-._a-zA-Z0-9]*$",
        description="Name of the variable.",
    )
    value: str | None = Field(default=None, max_length=32768, description="Its value; $(NAME) refers to earlier ones.")
    value_from: (
        Annotated[
            EnvValueFrom,
            one_of(
                "valueFrom needs exactly one of fieldRef, configMapKeyRef and secretKeyRef",
                "fieldRef",
                "configMapKeyRef",
                "secretKeyRef",
            ),
        ]
        | None
    ) = Field(default=None, description="Where the value comes from instead; not together with value.")


VALUE_OR_FROM = Rule(
    "!(has(self.value) && has(self.valueFrom))",
    "a variable has either value or valueFrom, not both: remove one",
    lambda env: env.value is None or env.value_from is None,
)
UNRESERVED_ENV = Rule(
    f"self.all(e, !(e.name in {cel_list(RESERVED_ENV)}))",
    "the operator sets NEURON_RT_VISIBLE_CORES, the POD_ and NODE_ names and the NEURON_RUNTIME_ variables that fields "
    "of the spec stand for: use those under spec.serving and spec.neuronCores; all other variables are free",
    lambda env: all(var.name not in RESERVED_ENV for var in env),
)
Env = Annotated[tuple[Annotated[EnvVar, VALUE_OR_FROM], ...], Field(max_length=64), shapes.Unique(("name",))]


class NameRef(ApiModel):
    name: DnsSubdomain = Field(description="Name of the object, in the model's namespace.")


class OptionalRef(ApiModel):
    name: DnsSubdomain = Field(description="Name of the object, in the model's namespace.")
    optional: bool | None = Field(default=None, description="Start the container even if the object is missing.")


class EnvFrom(ApiModel):
    prefix: str | None = Field(
        default=None, max_length=128, pattern=r"^[-._a-zA-Z0-9]*$", description="Put before every key."
    )
    config_map_ref: OptionalRef | None = Field(default=None, description="Every key of a ConfigMap.")
    secret_ref: OptionalRef | None = Field(default=None, description="Every key of a Secret.")


EnvFromList = Annotated[
    tuple[
        Annotated[
            EnvFrom,
            one_of("envFrom needs exactly one of configMapRef and secretRef", "configMapRef", "secretRef"),
        ],
        ...,
    ],
    Field(max_length=16, json_schema_extra=shapes.ATOMIC),
]
HostResources = Annotated[
    dict[Annotated[str, Field(max_length=63)], Quantity],
    Field(max_length=3),
    Rule(
        f"self.all(k, k in {cel_list(HOST_RESOURCES)})",
        "only cpu, memory and ephemeral-storage can be asked for here; NeuronCores belong to the runtime alone, "
        "through spec.neuronCores, because Neuron devices can't be shared between containers",
        lambda resources: all(name in HOST_RESOURCES for name in resources),
    ),
]


class Resources(ApiModel):
    requests: HostResources | None = Field(
        default=None, description="What the scheduler sets aside; a missing one equals its limit."
    )
    limits: HostResources | None = Field(
        default=None, description="What the container may use at most; none by default."
    )


class ConfigMapVolume(ApiModel):
    name: DnsSubdomain = Field(description="Name of the ConfigMap; each key becomes a file.")
    optional: bool | None = Field(default=None, description="Start even if the ConfigMap is missing.")


class SecretVolume(ApiModel):
    secret_name: DnsSubdomain = Field(description="Name of the Secret; each key becomes a file.")
    optional: bool | None = Field(default=None, description="Start even if the Secret is missing.")


class EmptyDirVolume(ApiModel):
    medium: Literal["", "Memory"] | None = Field(default=None, description="Memory for a RAM disk; empty for disk.")
    size_limit: Quantity | None = Field(
        default=None, description="The pod is evicted beyond this; no limit by default."
    )


class ClaimVolume(ApiModel):
    claim_name: DnsSubdomain = Field(description="Name of the PersistentVolumeClaim, in the model's namespace.")
    read_only: bool | None = Field(default=None, description="Mount it read-only everywhere.")


class Volume(ApiModel):
    name: DnsLabel = Field(description="Name that volumeMounts refer to; model, tmp and artifact-claim are taken.")
    config_map: ConfigMapVolume | None = Field(default=None, description="Files from a ConfigMap.")
    secret: SecretVolume | None = Field(default=None, description="Files from a Secret.")
    empty_dir: EmptyDirVolume | None = Field(default=None, description="An empty directory that lives with the pod.")
    persistent_volume_claim: ClaimVolume | None = Field(default=None, description="A PersistentVolumeClaim.")


Volumes = Annotated[
    tuple[
        Annotated[
            Volume,
            one_of(
                "a volume needs exactly one of configMap, secret, emptyDir and persistentVolumeClaim; hostPath and "
                "other kinds are not offered",
                "configMap",
                "secret",
                "emptyDir",
                "persistentVolumeClaim",
            ),
        ],
        ...,
    ],
    Field(max_length=16),
    shapes.Unique(("name",)),
    Rule(
        f"self.all(v, !(v.name in {cel_list(RESERVED_VOLUMES)}))",
        "the volume names model, tmp and artifact-claim belong to the operator: choose another name",
        lambda volumes: all(volume.name not in RESERVED_VOLUMES for volume in volumes),
    ),
]


PARENT = "(^|/)[.][.](/|$)"
SubPath = Annotated[
    FilePath,
    Rule(
        f"!self.startsWith('/') && !self.matches('{PARENT}')",
        "a subPath lies within the volume: it must not start with / and not contain ..",
        lambda path: not path.startswith("/") and re.search(PARENT, path) is None,
    ),
]


class VolumeMount(ApiModel):
    name: DnsLabel = Field(description="Name of a volume of spec.pod.volumes.")
    mount_path: Annotated[FilePath, Field(pattern="^/[^:]*$")] = Field(
        description="Absolute path in the container, without a colon."
    )
    sub_path: SubPath | None = Field(default=None, description="Path within the volume; its root by default.")
    read_only: bool | None = Field(default=None, description="Mount it read-only; writable by default.")


Port = Annotated[int, Field(ge=1, le=65535)]


class ContainerPort(ApiModel):
    name: str | None = Field(
        default=None,
        max_length=15,
        pattern=shapes.PORT_NAME,
        description="Name of the port within the pod, with a letter in it.",
    )
    container_port: Annotated[
        Port,
        Rule(
            f"self != {names.RUNTIME_PORT}",
            f"port {names.RUNTIME_PORT} of the pod is the runtime's: let the container listen on another one",
            lambda port: port != names.RUNTIME_PORT,
        ),
    ] = Field(description="Number of the port; 8080 is the runtime's.")
    protocol: Literal["TCP", "UDP", "SCTP"] = Field(default="TCP", description="Protocol; TCP by default.")
