"""Makes the plan for one model with what it needs of the cluster: a look at the nodes before a rollout is decided."""

from collections.abc import Callable
from datetime import datetime

from neuron_operator.indices import Key
from neuron_operator.nodes import NodeWatch
from neuron_operator.plan import Known, Plan, make_plan
from neuron_operator.settings import Settings


async def plan_on(nodes: NodeWatch, key: Key, known: Known, settings: Settings, clock: Callable[[], datetime]) -> Plan:
    """The plan; what it counts on is noted at once, before anything else is awaited."""
    plan = make_plan(known, settings)
    if plan.needs_outlook:
        plan = make_plan(known, settings, await nodes.outlook(key, clock))
    nodes.settle(key, plan.decision, plan.awaited_revision)
    return plan
