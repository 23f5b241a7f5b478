"""NeuronModel v1alpha1: what the operator writes into the status. Pure; neuron_operator.status decides the values."""

from typing import Annotated

from pydantic import Field

from neuron_operator.api import shapes
from neuron_operator.api.conditions import Condition
from neuron_operator.api.shapes import ApiModel


class ArtifactStatus(ApiModel):
    digest: str = Field(default="", max_length=128, description="The digest the spec asks for.")


class PlacementStatus(ApiModel):
    instance_types: Annotated[tuple[Annotated[str, Field(max_length=32)], ...], Field(max_length=32)] = Field(
        default=(), description="Instance types that the pods may run on, preferred ones first."
    )
    reason: str = Field(default="", max_length=4096, description="Why these, in words.")


class RuntimeStatus(ApiModel):
    image: str = Field(default="", max_length=512, description="Image of the runtime in the frozen pod template.")


class LastFailure(ApiModel):
    reason: str = Field(max_length=128, description="One stable CamelCase word; see the runbook.")
    pod: str = Field(default="", max_length=253, description="The pod that failed.")
    container: str = Field(default="", max_length=63, description="The container that failed.")
    exit_code: int | None = Field(default=None, description="Its exit code, if it ended.")
    message: str = Field(default="", max_length=4096, description="What happened.")
    hint: str = Field(default="", max_length=4096, description="What to do next.")
    since: str = Field(default="", max_length=64, description="When it was first seen, by the pod's own clock.")
    recovered_at: str | None = Field(default=None, max_length=64, description="When the model served again.")


class NeuronModelStatus(ApiModel):
    observed_generation: int = Field(
        default=-1, description="Generation of the spec that this status speaks of; -1 before the operator looked."
    )
    conditions: Annotated[tuple[Condition, ...], Field(max_length=16), shapes.Unique(("type",))] = Field(
        default=(),
        description="Ready, Reconciling, Stalled; ChildConflict, ConflictingAutoscaler, UpgradeHeld while they hold.",
    )
    replicas: int = Field(default=0, description="Pods that exist.")
    ready_replicas: int = Field(default=0, description="Pods that serve.")
    updated_replicas: int = Field(default=0, description="Pods of the newest pod template.")
    summary: str = Field(default="", max_length=32, description="Ready replicas of the wanted ones, such as 1/2.")
    selector: str = Field(default="", max_length=256, description="Label selector of the pods, for autoscalers.")
    url: str = Field(default="", max_length=256, description="Where the model answers inside the cluster.")
    artifact: ArtifactStatus | None = Field(default=None, description="The artifact that is served.")
    placement: PlacementStatus | None = Field(default=None, description="Where the pods may run, and why there.")
    runtime: RuntimeStatus | None = Field(default=None, description="The runtime that is used.")
    last_failure: LastFailure | None = Field(default=None, description="The latest failure, kept after recovery.")
