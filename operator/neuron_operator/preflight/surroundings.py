"""What a cluster has of everything that models need around them, as plain facts. Pure; preflight.py judges them.

Made from the indices while the operator runs, and from single lists for `python -m neuron_operator preflight`.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from neuron_operator.api.conditions import Reason
from neuron_operator.capacity import Requests, cores_in_use, is_neuron_node
from neuron_operator.names import LABEL_MODEL
from neuron_operator.observe import ObservedNode, observe_node

Body = Mapping[str, Any]
ENDED: Final = ("Succeeded", "Failed")
DEFAULT_SCHEDULER: Final = "default-scheduler"


@dataclass(frozen=True)
class ModelPod:
    """A pod of a model. `cores` are the model's: 0 while it is of an older version for another scheduler.

    Its scheduler has looked at it once it has a condition or a node."""

    name: str
    node: str
    scheduler: str
    cores: int
    is_looked_at: bool


@dataclass(frozen=True)
class Surroundings:
    """`unscheduled_models` need a scheduler with AWS's extension and name none.

    `requests` is what all pods on a node ask for, of the nodes whose usage map is to be judged; None while that can't
    be read. `definitions` are the kinds of the Prometheus Operator that the API server serves, None likewise.
    """

    nodes: tuple[ObservedNode, ...] = ()
    pods: tuple[ModelPod, ...] = ()
    unscheduled_models: tuple[str, ...] = ()
    scheduler_name: str = ""
    requests: Mapping[str, Requests] | None = None
    definitions: frozenset[str] | None = None


def observe_surroundings(
    nodes: Iterable[Body], models: Iterable[Body], pods: Iterable[Body], scheduler_name: str
) -> Surroundings:
    """All but what takes more reading: `requests` and `definitions`. The order of what is given does not matter."""
    models = list(models)
    unscheduled = (_name(model) for model in models if _reason(model) == Reason.SCHEDULER_EXTENSION_REQUIRED)
    asked = {_name(model): _asked(model, scheduler_name) for model in models}
    living = (_model_pod(pod, asked) for pod in pods if pod.get("status", {}).get("phase") not in ENDED)
    return Surroundings(
        nodes=tuple(filter(is_neuron_node, map(observe_node, nodes))),
        pods=tuple(sorted(living, key=lambda pod: pod.name)),
        unscheduled_models=tuple(sorted(unscheduled)),
        scheduler_name=scheduler_name,
    )


def suspects(found: Surroundings) -> tuple[str, ...]:
    """The nodes whose usage map holds more cores than the models' own pods there: those of others must be counted.

    A model's present core count stands for all its pods, which is exact but while a change of it is rolled out.
    """
    own = Counter[str]()
    for pod in found.pods:
        own[pod.node] += pod.cores
    return tuple(node.name for node in found.nodes if sum(cores_in_use(node) or ()) > own[node.name])


class _Asked(NamedTuple):
    """What a model wants of the scheduler."""

    cores: int
    scheduler: str


def _asked(model: Body, scheduler_name: str) -> _Asked:
    """As far as it can be read: what the operator refuses it does not schedule either."""
    spec = model.get("spec", {})
    named = (spec.get("placement") or {}).get("schedulerName") or scheduler_name
    return _Asked(spec.get("neuronCores", 0), named or DEFAULT_SCHEDULER)


def _model_pod(pod: Body, asked: Mapping[str, _Asked]) -> ModelPod:
    metadata, spec = pod["metadata"], pod.get("spec", {})
    scheduler = spec.get("schedulerName", DEFAULT_SCHEDULER)
    model = asked.get(f"{metadata['namespace']}/{metadata.get('labels', {}).get(LABEL_MODEL, '')}")
    conditions = pod.get("status", {}).get("conditions", ())
    return ModelPod(
        name=_name(pod),
        node=spec.get("nodeName", ""),
        scheduler=scheduler,
        cores=model.cores if model is not None and model.scheduler == scheduler else 0,
        is_looked_at="nodeName" in spec or any(found.get("type") == "PodScheduled" for found in conditions),
    )


def _reason(model: Body) -> str:
    conditions = model.get("status", {}).get("conditions", ())
    return next((str(found["reason"]) for found in conditions if found["type"] == "Ready"), "")


def _name(body: Body) -> str:
    return f"{body['metadata']['namespace']}/{body['metadata']['name']}"
