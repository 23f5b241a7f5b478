"""The operator's settings: one frozen model, read from NEURON_OPERATOR_* variables once at start.

The descriptions are the documentation: docs/reference/operator-settings.md is generated from them.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal

from pydantic import Field, field_validator
from pydantic_core import PydanticCustomError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from neuron_operator import __version__

ENV_PREFIX = "NEURON_OPERATOR_"
NAMESPACE: Final = re.compile(r"(?=.{1,63}\Z)[a-z0-9]([-a-z0-9]*[a-z0-9])?")


class Settings(BaseSettings):
    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore")

    runtime_image: str = Field(
        default=f"docker.io/neuron-serving/runtime:{__version__}",
        min_length=1,
        description="Image of the runtime for models that name none in spec.runtime.image. A new value is adopted by a "
        "model at its next change; by itself only with spec.runtime.upgradePolicy Automatic, one model at a time.",
    )
    runtime_image_pull_policy: Literal["IfNotPresent", "Always", "Never"] = Field(
        default="IfNotPresent", description="Pull policy for models that name none in spec.runtime.imagePullPolicy."
    )
    scheduler_name: str = Field(
        default="",
        description="Scheduler that runs AWS's Neuron scheduler extension, for models that name none in "
        "spec.placement.schedulerName. Empty: the default scheduler, so only models that take one core or all cores "
        "of an instance type can be placed.",
    )
    watch_namespaces: Annotated[tuple[str, ...], NoDecode] = Field(
        default=(),
        description="Namespaces whose models are served, separated by commas. Nothing but the Lease is read elsewhere. "
        "Empty: the whole cluster.",
    )
    read_nodes: bool | None = Field(
        default=None,
        description="Whether nodes and all pods on them are read: without them, messages of what waits for cores are "
        "the scheduler's own, and Auto rollouts go in place. Unset: only where the whole cluster is watched.",
    )
    workers: int = Field(default=8, ge=1, le=64, description="Models reconciled at the same time.")
    health_port: int = Field(default=8081, ge=0, le=65535, description="Port of /healthz and /readyz; 0 picks one.")
    metrics_port: int = Field(default=9090, ge=0, le=65535, description="Port of /metrics; 0 picks one.")
    leader_election: bool = Field(
        default=True,
        description="Whether replicas agree on one that writes, by a Lease. Without it every process writes as soon as "
        "it knows the cluster: only for a single one, such as on a laptop.",
    )
    lease_namespace: str = Field(
        default="default",
        min_length=1,
        description="Namespace of the Lease neuron-serving-operator; the chart names the one the operator runs in.",
    )
    runbook_url: str = Field(
        default="https://neuron-serving.dev/runbook",
        max_length=200,
        description="Where docs/runbook is published; the message of whatever is wrong ends with the link to its page "
        "there, such as …/CrashLoop. At most 200 characters; empty for no links.",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        default="info", description="Least severe level that is logged."
    )
    pod_name: str = Field(
        default="",
        description="Name of this pod, from the downward API; events name it as their reporter, "
        "and the Lease as its holder. Empty: the name of the host.",
    )

    @field_validator("watch_namespaces", mode="before")
    @classmethod
    def _split(cls, given: Any) -> Any:
        return [name.strip() for name in given.split(",") if name.strip()] if isinstance(given, str) else given

    @field_validator("watch_namespaces")
    @classmethod
    def _name_each_once(cls, names: Sequence[str]) -> Sequence[str]:
        for name in names:
            if not NAMESPACE.fullmatch(name):
                message = "{name} can't be a namespace: lower-case letters, digits and - within, at most 63"
                raise PydanticCustomError("namespace", message, {"name": repr(name)})
            if names.count(name) > 1:
                raise PydanticCustomError("twice", "{name} is named twice: name each once", {"name": repr(name)})
        return names

    @property
    def may_read_nodes(self) -> bool:
        return self.read_nodes if self.read_nodes is not None else not self.watch_namespaces
