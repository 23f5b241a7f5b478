"""NeuronModel v1alpha1: spec and status as types, the single source of the CRD, its reference page and this code. Pure.

`NeuronModel.parse` is how every object enters the operator. Descriptions state unit, default and extremes, because
`kubectl explain` and docs/reference/crd.md print them. Only fields that work are here.
"""

import json
import re
from collections.abc import Mapping
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_core import PydanticCustomError

from neuron_operator import names
from neuron_operator.api import shapes
from neuron_operator.api.container import MOUNTS_NAME_VOLUMES, Image, Pod, PullPolicy
from neuron_operator.api.pod import NameRef, Resources
from neuron_operator.api.problems import problems_in
from neuron_operator.api.rules import Rule
from neuron_operator.api.shapes import ApiModel, DnsSubdomain, LabelKey, LabelValue
from neuron_operator.api.status import NeuronModelStatus
from neuron_operator.errors import InvalidSpecError, Problem

__all__ = ["NeuronModel", "NeuronModelSpec", "NeuronModelStatus", "Rollout"]

MAX_NEURON_CORES = 24


BUCKET_OR_HOST = r"^(s3|https|pvc)://[^/]+"
CLAIM = r"^pvc://[a-z0-9]"
PARENT_PATH = r"/[.][.](/|$)"
SHA256 = r"^sha256:[0-9a-f]{64}$"

Uri = Annotated[
    str,
    Field(min_length=1, max_length=1024),
    Rule(
        f"self.matches('{BUCKET_OR_HOST}')",
        "artifact.uri must be s3://BUCKET/PATH, https://HOST/PATH or pvc://CLAIM/PATH; hf:// and oci:// are not "
        "supported yet: pack the model into a bundle and upload that",
        lambda uri: re.search(BUCKET_OR_HOST, uri) is not None,
    ),
    Rule(
        f"!self.startsWith('pvc://') || (self.matches('{CLAIM}') && !self.matches('{PARENT_PATH}'))",
        "artifact.uri must name a PersistentVolumeClaim of this namespace as pvc://CLAIM/PATH, and PATH must not "
        "contain ..",
        lambda uri: (
            not uri.startswith("pvc://") or (re.search(CLAIM, uri) is not None and re.search(PARENT_PATH, uri) is None)
        ),
    ),
]


class Artifact(ApiModel):
    uri: Uri = Field(
        description="Where the model bundle is: s3://BUCKET/PATH/, https://HOST/PATH/ (a folder that holds model.json, "
        "or one .tar) or pvc://CLAIM/PATH/. At most 1,024 characters."
    )
    digest: (
        Annotated[
            str,
            Field(max_length=128),
            Rule(
                f"self.matches('{SHA256}')",
                "artifact.digest must be sha256: and 64 hexadecimal digits, the sha256 of the bundle's model.json",
                lambda digest: re.fullmatch(SHA256, digest) is not None,
            ),
        ]
        | None
    ) = Field(
        default=None,
        description="sha256:… of the bundle's model.json, which pins every file of it. Without one whatever lies at "
        "the URI is served, checked against its own model.json.",
    )
    secret_ref: NameRef | None = Field(
        default=None,
        description="Secret of this namespace whose keys become the environment of the fetch container, and of no "
        "other: AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, AWS_ENDPOINT_URL_S3 and the like.",
    )


class Toleration(ApiModel):
    key: Annotated[str, Field(max_length=317, pattern=f"^({shapes.QUALIFIED_KEY})?$")] | None = Field(
        default=None, description="Taint key; empty for all."
    )
    operator: Literal["Exists", "Equal"] | None = Field(default=None, description="Equal by default.")
    value: LabelValue | None = Field(default=None, description="Taint value; only with Equal.")
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = Field(
        default=None, description="Taint effect; all of them by default."
    )
    toleration_seconds: Annotated[int, Field(ge=0, le=2147483647)] | None = Field(
        default=None, description="Seconds that a NoExecute taint is tolerated; forever by default."
    )


TolerationRules = (
    Rule(
        "(has(self.key) && self.key != '') || (has(self.operator) && self.operator == 'Exists')",
        "a toleration without a key tolerates everything and needs operator: Exists",
        lambda t: bool(t.key) or t.operator == "Exists",
    ),
    Rule(
        "!(has(self.operator) && self.operator == 'Exists' && has(self.value) && self.value != '')",
        "a toleration with operator Exists has no value: remove it or use Equal",
        lambda t: not (t.operator == "Exists" and t.value),
    ),
    Rule(
        "!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
        "tolerationSeconds only works with effect: NoExecute",
        lambda t: t.toleration_seconds is None or t.effect == "NoExecute",
    ),
)
InstanceTypeName = Annotated[
    str, Field(min_length=3, max_length=32, pattern=r"^[a-z0-9-]+\.[a-z0-9]+([.-][a-z0-9]+)*$")
]


class PlacementSpec(ApiModel):
    instance_types: Annotated[tuple[InstanceTypeName, ...], Field(max_length=16), shapes.Unique()] = Field(
        default=(),
        description="Instance types that may run the model, best first, such as inf2.xlarge. By default every Inf2 "
        "type that fits, the cheapest first. At most 16.",
    )
    scheduler_name: DnsSubdomain | None = Field(
        default=None,
        description="Scheduler with AWS's Neuron extension; needed for more than one but fewer than all cores of a "
        "type. The operator's own setting by default.",
    )
    node_selector: Annotated[dict[LabelKey, LabelValue], Field(max_length=16), shapes.LABEL_KEYS] = Field(
        default={}, description="Labels a node must have besides its instance type, at most 16."
    )
    tolerations: Annotated[
        tuple[Annotated[Toleration, *TolerationRules], ...], Field(max_length=16, json_schema_extra=shapes.ATOMIC)
    ] = Field(default=(), description="Tolerations besides the one for the taint aws.amazon.com/neuron, at most 16.")
    priority_class_name: DnsSubdomain | None = Field(
        default=None, description="PriorityClass of the pods; the cluster's default by default."
    )
    spread: Literal["Preferred", "None"] = Field(
        default="Preferred",
        description="Preferred (the default) puts replicas into different zones and on different nodes where there are "
        "several; with Karpenter each replica may get a node of its own then. None leaves it to the scheduler, so that "
        "small replicas share a node.",
    )


class Serving(ApiModel):
    max_batch_size: Annotated[int, Field(ge=1, le=4096)] | None = Field(
        default=None,
        description="Most rows in one device batch, 1 to 4,096; larger buckets are not loaded. The bundle's largest "
        "bucket by default.",
    )
    queue_capacity_rows: Annotated[int, Field(ge=1, le=1_000_000)] | None = Field(
        default=None,
        description="Rows that may wait before requests are refused with 429, 1 to 1,000,000. By default 32 full "
        "batches for each core, at least 256.",
    )
    request_timeout_seconds: int = Field(
        default=30, ge=1, le=3600, description="Seconds after which a request is answered with 504, 1 to 3,600."
    )
    max_body_bytes: Annotated[int, Field(ge=1024, le=1_073_741_824)] | None = Field(
        default=None,
        description="Largest request body in bytes, 1 KiB to 1 GiB; larger ones are refused with 413. 16 MiB by "
        "default.",
    )


class Rollout(ApiModel):
    mode: Literal["Auto", "Surge", "InPlace"] = Field(
        default="Auto",
        description="Auto (the default) surges when the cores of a whole replica are surely free on a node, and "
        "replaces in place otherwise. Surge starts a new replica before it stops an old one and waits for the cores, "
        "however long; InPlace stops an old replica first and needs no spare cores.",
    )
    max_unavailable: int = Field(
        default=1,
        ge=1,
        le=1000,
        description="Replicas that may be down at the same time while they are replaced in place, 1 (the default) to "
        "1,000. A surge takes none down.",
    )
    accept_core_loss: bool = Field(
        default=False,
        description="true lets Auto replace in place even when pods of others wait for the NeuronCores that this "
        "frees; false (the default) keeps the old version until none can take them.",
    )
    drain_seconds: int = Field(
        default=15,
        ge=0,
        le=3600,
        description="Seconds a pod goes on answering after it was told to stop, while load balancers forget it, 0 to "
        "3,600. A change replaces the pods.",
    )
    progress_deadline_seconds: int = Field(
        default=1800,
        ge=1,
        le=86400,
        description="Seconds without progress after which a rollout counts as stalled, 1 to 86,400.",
    )
    auto_rollback: bool = Field(
        default=False,
        description="true goes back to the last version that was complete when a new one makes no progress for "
        "progressDeadlineSeconds; it is tried again when the spec changes, or when this is set to false, which keeps "
        "the new version. false by default.",
    )


def _port_as_text(value: Any) -> Any:
    """A quoted number is no number here: Kubernetes would look for a port of that name, which none can have."""
    if isinstance(value, str) and value.isdigit():
        raise PydanticCustomError("port", "must be the name of a port or a number without quotes")
    return shapes.as_text(value)


TargetPort = Annotated[
    str,
    Field(max_length=15, pattern=r"^[a-z0-9]([-a-z0-9]*[a-z0-9])?$", json_schema_extra=shapes.INT_OR_STRING),
    BeforeValidator(_port_as_text),
    Rule(
        "type(self) == string ? !self.matches('^[0-9]+$') : (self >= 1 && self <= 65535)",
        "service.targetPort must be the name of a port or a number from 1 to 65535",
        lambda port: not port.isdigit() or 1 <= int(port) <= 65535,
    ),
]


class ServiceSpec(ApiModel):
    target_port: TargetPort | None = Field(
        default=None,
        description="Port of the pod that the Service leads to: the name of a port of your own containers, or a "
        "number. The runtime's 8080 by default.",
    )


class RuntimeSpec(ApiModel):
    image: Image | None = Field(default=None, description="Image of the runtime; the operator's setting by default.")
    image_pull_policy: PullPolicy | None = Field(default=None, description="The operator's setting by default.")
    upgrade_policy: Literal["Manual", "Automatic"] = Field(
        default="Manual",
        description="What a new release of the operator, whose pods may have another default image or another probe, "
        "means for a model that runs. Manual (the default): nothing until the spec changes. Automatic: its pods are "
        "replaced, one model of the cluster after the other by namespace and name; the next one waits until all "
        "replicas of the one before are available.",
    )


DEFAULT_RESOURCES = Resources(requests={"cpu": "250m", "memory": "512Mi"})
# What can change without a new pod; everything else in the spec is part of the frozen template's identity.
_OUTSIDE_TEMPLATE = {"replicas", "suspend", "service"}


class NeuronModelSpec(ApiModel):
    artifact: Artifact = Field(description="The compiled model to serve.")
    neuron_cores: Annotated[
        int,
        Rule(
            f"self >= 1 && self <= {MAX_NEURON_CORES}",
            f"neuronCores must be 1 to {MAX_NEURON_CORES}: inf2.48xlarge, the largest Inferentia2 instance, has "
            f"{MAX_NEURON_CORES} NeuronCores; use replicas for more",
            lambda cores: 1 <= cores <= MAX_NEURON_CORES,
        ),
    ] = Field(description="NeuronCores of each replica, 1 to 24. An instance type must be able to give them.")
    replicas: int = Field(
        default=1,
        ge=0,
        le=1000,
        description="Replicas, 0 to 1,000. Autoscalers write it through the scale subresource; leave it out of Git "
        "then.",
    )
    suspend: bool = Field(default=False, description="true scales to nothing and keeps everything else.")
    placement: PlacementSpec = Field(default=PlacementSpec(), description="Which nodes may run the model.")
    serving: Serving = Field(default=Serving(), description="How requests are batched, queued and limited.")
    rollout: Rollout = Field(default=Rollout(), description="How a changed model replaces the old one.")
    service: ServiceSpec = Field(default=ServiceSpec(), description="The Service in front of the replicas.")
    resources: Resources = Field(
        default=DEFAULT_RESOURCES,
        description="Host cpu and memory of the fetch and runtime containers; by default requests of 250m and 512Mi.",
    )
    pod: Annotated[Pod, MOUNTS_NAME_VOLUMES] = Field(
        default=Pod(), description="Environment, identity, volumes, and your own containers beside the runtime."
    )
    runtime: RuntimeSpec = Field(default=RuntimeSpec(), description="The runtime itself.")

    @property
    def desired_replicas(self) -> int:
        return 0 if self.suspend else self.replicas

    def template_intent(self) -> dict[str, Any]:
        """What the user said that shapes the pods. Two specs with equal intent share one frozen pod template.

        Defaults are left out, so that a field added by a later release does not change the identity of old objects.
        When to upgrade says nothing about the pods.
        """
        shaping = self.model_copy(update={"runtime": self.runtime.model_copy(update={"upgrade_policy": "Manual"})})
        intent = shaping.model_dump(
            mode="json",
            by_alias=True,
            exclude_none=True,
            exclude_defaults=True,
            exclude=_OUTSIDE_TEMPLATE | {"rollout"},
        )
        drain_seconds = self.rollout.drain_seconds
        return intent if drain_seconds == Rollout().drain_seconds else intent | {"drainSeconds": drain_seconds}


class ObjectMeta(ApiModel):
    name: str = Field(min_length=1)
    namespace: str = "default"
    uid: str = ""
    generation: int = 0


class NeuronModel(ApiModel):
    metadata: ObjectMeta
    spec: NeuronModelSpec

    @property
    def name(self) -> str:
        return self.metadata.name

    @property
    def namespace(self) -> str:
        return self.metadata.namespace

    @classmethod
    def parse(cls, body: Mapping[str, Any], *, strict: bool = False) -> Self:
        """The object as types. `strict` is for what no API server has seen: no unknown field, no number as text.

        Raises InvalidSpecError, which names every wrong field by its path.
        """
        problems = _identity_problems(body)
        try:
            metadata = ObjectMeta.model_validate(body.get("metadata") or {})
        except ValidationError as error:
            raise InvalidSpecError([*problems, *problems_in(error, "metadata", ObjectMeta)]) from error
        problems += NAME_RULE_PROBLEM if not NAME_RULE.holds(metadata.name) else ()
        try:
            spec = _strict_spec(body) if strict else NeuronModelSpec.model_validate(body.get("spec") or {})
        except ValidationError as error:
            raise InvalidSpecError([*problems, *problems_in(error, "spec", NeuronModelSpec)]) from error
        problems += [Problem("spec", rule.message) for rule in SPEC_RULES if not rule.holds(spec)]
        if problems:
            raise InvalidSpecError(problems)
        return cls(metadata=metadata, spec=spec)


def _names_a_port(spec: NeuronModelSpec) -> bool:
    target = spec.service.target_port
    if target is None or target.isdigit() or target == names.PORT_NAME:
        return True
    return any(port.name == target for container in spec.pod.containers for port in container.ports or ())


SPEC_RULES = (
    Rule(
        "!has(self.service) || !has(self.service.targetPort) || type(self.service.targetPort) != string || "
        f"self.service.targetPort == '{names.PORT_NAME}' || (has(self.pod) && has(self.pod.containers) && "
        "self.pod.containers.exists(c, has(c.ports) && "
        "c.ports.exists(p, has(p.name) && p.name == self.service.targetPort)))",
        "service.targetPort names a port that no container of spec.pod.containers has: add the port or correct the "
        "name",
        _names_a_port,
    ),
)


DNS_1035 = r"^[a-z]([-a-z0-9]*[a-z0-9])?$"
NAME_RULE = Rule(
    f"self.metadata.name.size() <= {names.NAME_MAX_LENGTH} && self.metadata.name.matches('{DNS_1035}')",
    f"metadata.name must be at most {names.NAME_MAX_LENGTH} characters, lower-case letters, digits and -, start with a "
    "letter and not end with -: the Service and the revisions are named after it",
    lambda name: len(name) <= names.NAME_MAX_LENGTH and re.fullmatch(DNS_1035, name) is not None,
)
NAME_RULE_PROBLEM = (Problem("metadata.name", NAME_RULE.message),)


def _strict_spec(body: Mapping[str, Any]) -> NeuronModelSpec:
    # Through JSON, where a list may be read as a tuple even strictly.
    text = json.dumps(body.get("spec") or {}, default=str)
    return NeuronModelSpec.model_validate_json(text, strict=True, extra="forbid")


def _identity_problems(body: Mapping[str, Any]) -> list[Problem]:
    wanted = {"apiVersion": names.API_VERSION, "kind": names.KIND}
    return [
        Problem(field, f"must be {value}, not {body[field]!r}")
        for field, value in wanted.items()
        if field in body and body[field] != value
    ]
