"""Conditions and their reasons: the words the operator answers with. Pure; status.py decides which of them hold.

A reason is stable API: it appears in the REASON column, in events and as a heading of the runbook. What each
means is told by `meanings.py`.
"""

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Final, Literal

from pydantic import BaseModel, ConfigDict, Field
from pydantic.alias_generators import to_camel

ConditionStatus = Literal["True", "False", "Unknown"]


class ConditionType(StrEnum):
    """Ready, Reconciling and Stalled are what kstatus (Flux, Argo CD, kubectl wait) understands; they are always there.

    The others are there while they hold, and make a model neither stalled nor less ready.
    """

    READY = "Ready"
    RECONCILING = "Reconciling"
    STALLED = "Stalled"
    CHILD_CONFLICT = "ChildConflict"
    CONFLICTING_AUTOSCALER = "ConflictingAutoscaler"
    UPGRADE_HELD = "UpgradeHeld"


NAMED_CONDITIONS: Final = (
    ConditionType.CHILD_CONFLICT,
    ConditionType.CONFLICTING_AUTOSCALER,
    ConditionType.UPGRADE_HELD,
)


class Reason(StrEnum):
    SERVING = "Serving"
    SUSPENDED = "Suspended"
    SCALED_TO_ZERO = "ScaledToZero"
    PROGRESSING = "Progressing"
    INSUFFICIENT_NEURON_CORES = "InsufficientNeuronCores"
    NO_NEURON_NODES = "NoNeuronNodes"
    DEVICE_PLUGIN_MISSING = "DevicePluginMissing"
    STALE_USAGE_MAP = "StaleUsageMap"
    SCHEDULER_EXTENSION_REQUIRED = "SchedulerExtensionRequired"
    TAINT_NOT_TOLERATED = "TaintNotTolerated"
    UNSCHEDULABLE = "Unschedulable"
    NO_MATCHING_INSTANCE_TYPE = "NoMatchingInstanceType"
    IMAGE_PULL_FAILED = "ImagePullFailed"
    CONTAINER_CONFIG_ERROR = "ContainerConfigError"
    ARTIFACT_NOT_FOUND = "ArtifactNotFound"
    ARTIFACT_UNAUTHORIZED = "ArtifactUnauthorized"
    ARTIFACT_UNREACHABLE = "ArtifactUnreachable"
    ARTIFACT_CORRUPT = "ArtifactCorrupt"
    ARTIFACT_TOO_LARGE = "ArtifactTooLarge"
    DISK_FULL = "DiskFull"
    MODEL_LOAD_FAILED = "ModelLoadFailed"
    NEURON_CORES_BUSY = "NeuronCoresBusy"
    COMPILER_VERSION_MISMATCH = "CompilerVersionMismatch"
    OUT_OF_MEMORY = "OutOfMemory"
    OUT_OF_DEVICE_MEMORY = "OutOfDeviceMemory"
    HARDWARE_ERROR = "HardwareError"
    INVALID_CONFIGURATION = "InvalidConfiguration"
    CRASH_LOOP = "CrashLoop"
    PROBE_FAILING = "ProbeFailing"
    EVICTED = "Evicted"
    ROLLOUT_STALLED = "RolloutStalled"
    ROLLED_BACK = "RolledBack"
    ROLLOUT_WOULD_LOSE_CORES = "RolloutWouldLoseCores"
    QUOTA_EXCEEDED = "QuotaExceeded"
    NAME_CONFLICT = "NameConflict"
    CHILD_REJECTED = "ChildRejected"
    CHILD_CONFLICT = "ChildConflict"
    CONFLICTING_AUTOSCALER = "ConflictingAutoscaler"
    UPGRADE_HELD = "UpgradeHeld"
    INVALID_SPEC = "InvalidSpec"


class Condition(BaseModel):
    """One condition of a NeuronModel, in the shape every Kubernetes tool reads."""

    model_config = ConfigDict(frozen=True, alias_generator=to_camel, populate_by_name=True)

    type: str = Field(
        max_length=64, description="Ready, Reconciling, Stalled, ChildConflict, ConflictingAutoscaler or UpgradeHeld."
    )
    status: ConditionStatus = Field(description="True, False or Unknown.")
    reason: str = Field(max_length=128, description="Why, in one stable CamelCase word; see the runbook.")
    message: str = Field(default="", max_length=4096, description="What happened and what to do next, in words.")
    last_transition_time: str = Field(
        default="", max_length=64, json_schema_extra={"format": "date-time"}, description="When status last changed."
    )
    observed_generation: int = Field(default=0, ge=0, description="The generation of the spec this speaks of.")


def with_transition_times(
    previous: Iterable[Condition], wanted: Sequence[Condition], now: str
) -> tuple[Condition, ...]:
    """`wanted` with each transition time kept where the status stays the same, and `now` where it changes."""
    before = {condition.type: condition for condition in previous}
    stamped = []
    for condition in wanted:
        old = before.get(condition.type)
        kept = old is not None and old.status == condition.status and old.last_transition_time
        stamped.append(condition.model_copy(update={"last_transition_time": kept or now}))
    return tuple(stamped)
