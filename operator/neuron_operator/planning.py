"""Makes the plan for one model with what it needs of the cluster: what is known of it, and a look at the nodes before a
rollout is decided."""

from collections.abc import Callable
from datetime import datetime

from neuron_operator.indices import CHILD_KINDS, Indices, Key
from neuron_operator.nodes import NodeWatch
from neuron_operator.observe import observe_pods
from neuron_operator.plan import Body, Known, Plan, Refusal, make_plan
from neuron_operator.settings import Settings


def known_of(indices: Indices, key: Key, body: Body, *, has_turn: bool) -> Known:
    children = {kind: indices.of_model(kind, key) for kind in CHILD_KINDS}
    return Known(body, children, observe_pods(indices.of_model("Pod", key)), has_turn)


async def plan_on(
    nodes: NodeWatch,
    key: Key,
    known: Known,
    settings: Settings,
    clock: Callable[[], datetime],
    refused_upgrade: Refusal | None = None,
) -> Plan:
    """The plan; what it counts on is noted at once, before anything else is awaited."""
    plan = make_plan(known, settings, refused_upgrade=refused_upgrade)
    if plan.needs_outlook:
        plan = make_plan(known, settings, await nodes.outlook(key, clock), refused_upgrade)
    nodes.settle(key, plan.decision, plan.awaited_revision)
    return plan
