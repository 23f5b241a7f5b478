"""The user's own application beside the runtime: one container of spec.pod.containers. Pure."""

from typing import Annotated, Literal

from pydantic import Field

from neuron_operator import names
from neuron_operator.api import shapes
from neuron_operator.api.pod import (
    RESERVED_CONTAINERS,
    UNRESERVED_ENV,
    ContainerPort,
    Env,
    EnvFromList,
    NameRef,
    Port,
    Resources,
    VolumeMount,
    Volumes,
    cel_list,
    one_of,
)
from neuron_operator.api.rules import Rule
from neuron_operator.api.shapes import ApiModel, DnsLabel, DnsSubdomain, FilePath, LabelKey, LabelValue

PullPolicy = Literal["IfNotPresent", "Always", "Never"]
Words = Annotated[
    tuple[Annotated[str, Field(max_length=4096)], ...], Field(max_length=64, json_schema_extra=shapes.ATOMIC)
]
# Printable and without spaces. What counts as a space beyond ASCII, the API server and pydantic see differently.
Image = Annotated[str, Field(min_length=1, max_length=512, pattern="^[!-~]+$")]


class HttpGet(ApiModel):
    path: str | None = Field(default=None, min_length=1, max_length=1024, description="Path to ask for; / by default.")
    port: Port = Field(description="Number of the port.")
    scheme: Literal["HTTP", "HTTPS"] | None = Field(default=None, description="HTTP by default.")


class TcpSocket(ApiModel):
    port: Port = Field(description="Number of the port.")


class ExecAction(ApiModel):
    command: Annotated[Words, Field(min_length=1)] = Field(
        description="Command and arguments, without a shell; exit code 0 is healthy."
    )


Seconds = Annotated[int, Field(ge=1, le=3600)]


class ProbeFields(ApiModel):
    http_get: HttpGet | None = Field(default=None, description="Healthy when an HTTP GET answers 200 to 399.")
    tcp_socket: TcpSocket | None = Field(default=None, description="Healthy when the port accepts a connection.")
    exec: ExecAction | None = Field(default=None, description="Healthy when a command succeeds.")
    initial_delay_seconds: Annotated[int, Field(ge=0, le=3600)] | None = Field(
        default=None, description="Seconds before the first probe; 0 by default."
    )
    period_seconds: Seconds | None = Field(default=None, description="Seconds between probes; 10 by default.")
    timeout_seconds: Seconds | None = Field(default=None, description="Seconds an answer may take; 1 by default.")
    success_threshold: Annotated[int, Field(ge=1, le=100)] | None = Field(
        default=None, description="Successes in a row that make it healthy; 1 by default."
    )
    failure_threshold: Annotated[int, Field(ge=1, le=10000)] | None = Field(
        default=None, description="Failures in a row that make it unhealthy; 3 by default."
    )


ONE_HANDLER = one_of("a probe needs exactly one of httpGet, tcpSocket and exec", "httpGet", "tcpSocket", "exec")
SUCCEEDS_ONCE = Rule(
    "!has(self.successThreshold) || self.successThreshold == 1",
    "successThreshold of a liveness or startup probe can only be 1: remove it",
    lambda probe: probe.success_threshold in (None, 1),
)
ReadinessProbe = Annotated[ProbeFields, ONE_HANDLER]
OtherProbe = Annotated[ProbeFields, ONE_HANDLER, SUCCEEDS_ONCE]
PORT_NAMES_ONCE = Rule(
    "self.all(p, !has(p.name) || self.exists_one(other, has(other.name) && other.name == p.name))",
    "two ports of a container have the same name: rename one",
    lambda ports: len(named := [port.name for port in ports or () if port.name]) == len(set(named)),
)


class ContainerSecurity(ApiModel):
    run_as_user: Annotated[int, Field(ge=0, le=2147483647)] | None = Field(
        default=None, description="User id of the process; 65532 by default."
    )
    run_as_group: Annotated[int, Field(ge=0, le=2147483647)] | None = Field(
        default=None, description="Group id of the process; 65532 by default."
    )
    run_as_non_root: bool | None = Field(
        default=None,
        description="Refuse to start as root; true by default. An image that needs root takes false and runAsUser: 0.",
    )
    read_only_root_filesystem: bool | None = Field(
        default=None, description="Make the container's file system read-only; false by default."
    )


class Container(ApiModel):
    name: DnsLabel = Field(description="Name of the container; runtime and fetch are taken.")
    image: Image = Field(description="Image of the container.")
    image_pull_policy: PullPolicy | None = Field(default=None, description="Always for :latest, else IfNotPresent.")
    command: Words | None = Field(default=None, description="Replaces the image's entrypoint.")
    args: Words | None = Field(default=None, description="Replaces the image's arguments.")
    working_dir: FilePath | None = Field(default=None, description="Working directory; the image's by default.")
    env: Env | None = Field(default=None, description="Environment of this container, at most 64 variables.")
    env_from: EnvFromList | None = Field(default=None, description="ConfigMaps and Secrets to take variables from.")
    ports: Annotated[
        tuple[ContainerPort, ...] | None,
        Field(max_length=16),
        shapes.Unique(("containerPort", "protocol")),
        PORT_NAMES_ONCE,
    ] = Field(default=None, description="Ports it listens on; spec.service.targetPort may name one.")
    resources: Resources | None = Field(default=None, description="Host cpu and memory; never NeuronCores.")
    volume_mounts: Annotated[
        tuple[VolumeMount, ...] | None,
        Field(max_length=16),
        shapes.Unique(("mountPath",)),
    ] = Field(default=None, description="Where volumes of spec.pod.volumes appear in this container.")
    readiness_probe: ReadinessProbe | None = Field(
        default=None, description="The pod gets traffic only while this is healthy."
    )
    liveness_probe: OtherProbe | None = Field(default=None, description="The container is restarted when this fails.")
    startup_probe: OtherProbe | None = Field(default=None, description="Holds the other probes back until it succeeds.")
    security_context: ContainerSecurity | None = Field(
        default=None,
        description="Who the process runs as. Capabilities are always dropped and privileges never escalate.",
    )


RESERVED_PREFIX = f"{names.GROUP}/"
_UNRESERVED_LABELS = Rule(
    f"self.all(k, !k.startsWith('{RESERVED_PREFIX}') && !(k in "
    f"{cel_list((names.LABEL_NAME, names.LABEL_INSTANCE, names.LABEL_MANAGED_BY))}))",
    "labels under neuron-serving.dev/ and app.kubernetes.io/name, /instance and /managed-by are the operator's: remove "
    "them",
    lambda labels: (
        not any(
            key.startswith(RESERVED_PREFIX) or key in (names.LABEL_NAME, names.LABEL_INSTANCE, names.LABEL_MANAGED_BY)
            for key in labels
        )
    ),
)
_UNRESERVED_CONTAINERS = Rule(
    f"self.all(c, !(c.name in {cel_list(RESERVED_CONTAINERS)}))",
    "the container names runtime and fetch are the operator's: choose another name",
    lambda containers: all(container.name not in RESERVED_CONTAINERS for container in containers),
)


class Pod(ApiModel):
    service_account_name: DnsSubdomain | None = Field(
        default=None,
        description="Service account of the pods, for IRSA or EKS Pod Identity. Without one no API token is mounted.",
    )
    env: Annotated[Env, UNRESERVED_ENV] = Field(
        default=(), description="Environment of the fetch and runtime containers, at most 64 variables."
    )
    env_from: EnvFromList = Field(
        default=(), description="ConfigMaps and Secrets that give the fetch and runtime containers variables."
    )
    labels: Annotated[dict[LabelKey, LabelValue], Field(max_length=32), shapes.LABEL_KEYS, _UNRESERVED_LABELS] = Field(
        default={}, description="More labels for the pods, at most 32."
    )
    annotations: Annotated[
        dict[LabelKey, Annotated[str, Field(max_length=8192)]], Field(max_length=32), shapes.LABEL_KEYS
    ] = Field(default={}, description="Annotations for the pods, at most 32.")
    image_pull_secrets: Annotated[tuple[NameRef, ...], Field(max_length=8), shapes.Unique(("name",))] = Field(
        default=(), description="Secrets that hold registry credentials."
    )
    volumes: Volumes = Field(default=(), description="Volumes for the containers below; no hostPath.")
    containers: Annotated[
        tuple[Container, ...],
        Field(max_length=8),
        shapes.Unique(("name",)),
        _UNRESERVED_CONTAINERS,
    ] = Field(
        default=(),
        description="Your own application beside the runtime, which it reaches at http://localhost:8080. At most 8.",
    )


def _mounts_name_volumes(pod: Pod) -> bool:
    volumes = {volume.name for volume in pod.volumes}
    return all(mount.name in volumes for container in pod.containers for mount in container.volume_mounts or ())


MOUNTS_NAME_VOLUMES = Rule(
    "!has(self.containers) || self.containers.all(c, !has(c.volumeMounts) || c.volumeMounts.all(m, "
    "has(self.volumes) && self.volumes.exists(v, v.name == m.name)))",
    "a volumeMount names a volume that is not in spec.pod.volumes: add the volume or correct the name",
    _mounts_name_volumes,
)
