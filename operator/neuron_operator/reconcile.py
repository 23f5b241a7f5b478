"""The one loop: read → place → render → compare → apply → status. Level-triggered: it never asks what changed.

A worker of `workers.py` calls `reconcile` with a key; everything it decides, it decides in pure modules from what the
indices hold. It must stay idempotent: called twice in a row, the second call writes nothing.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from datetime import datetime

from neuron_operator.capacity import Capacity
from neuron_operator.events import transition_events
from neuron_operator.indices import Indices, Key
from neuron_operator.names import KIND
from neuron_operator.nodes import NodeWatch
from neuron_operator.plan import Body, Plan, Refusal, without_its_version
from neuron_operator.planning import known_of, plan_on
from neuron_operator.reasons import find_failure
from neuron_operator.settings import Settings
from neuron_operator.situation import Situation, situation_of
from neuron_operator.status import compute_status, seconds_until_next_look
from neuron_operator.turns import Turns
from neuron_operator.writes import Writer


@dataclass(frozen=True)
class Reconciler:
    indices: Indices
    writer: Writer
    nodes: NodeWatch
    settings: Settings
    clock: Callable[[], datetime]
    turns: Turns = field(default_factory=Turns)

    async def reconcile(self, key: Key) -> float | None:
        """Bring the cluster to what the model asks for; the seconds until it should be looked at again, if any."""
        body = self.indices.get(KIND, key)
        if body is None or "deletionTimestamp" in body["metadata"]:
            self.nodes.forget(key)
            self.writer.forget(key)
            self.turns.forget(key, self.indices)
            return None
        with self.turns.turn_of(key, self.indices) as has_turn:
            known = known_of(self.indices, key, body, has_turn=has_turn)
            plan = await plan_on(self.nodes, key, known, self.settings, self.clock)
            refused = await self.writer.carry_out(plan, self.clock())
            if refused is not None:
                plan, refused = await self._keep_running(key, body, plan, refused)
            self.turns.settle(key, plan, is_refused=(plan.refusal or refused) is not None)
        contention, url = self.writer.contention, self.settings.runbook_url
        situation = situation_of(body, plan, refused, self.indices, contention, url, self.clock())
        # Before anything is awaited: a node that changes while the status is written must wake the model again.
        self.nodes.is_waiting(key, waits=situation.waits_for_a_node or plan.look_again_s is not None)
        if situation.refusal is None and plan.placement is not None:
            capacity = await self.nodes.capacity() if situation.waits_for_a_node else Capacity()
            failure = find_failure(situation.newest_pods, situation.deployment, plan.placement, capacity, self.clock())
            situation = replace(situation, failure=failure)
        looks = (await self._tell(situation), seconds_until_next_look(situation, self.clock()))
        return min((look_s for look_s in looks if look_s), default=None)

    async def _keep_running(self, key: Key, body: Body, plan: Plan, why: Refusal) -> tuple[Plan, Refusal | None]:
        """What runs is scaled and repaired also while a newer version can't be written; nothing is wrong with a model
        of which only an upgrade is refused. The plan that counts now, and what is refused of it."""
        known = known_of(self.indices, key, body, has_turn=False)
        if plan.upgrade != "starts":
            await self.writer.carry_out(without_its_version(known, plan), self.clock())
            return plan, why
        kept = await plan_on(self.nodes, key, known, self.settings, self.clock, refused_upgrade=why)
        return kept, await self.writer.carry_out(kept, self.clock())

    async def _tell(self, situation: Situation) -> float:
        """Write the status if it says something new, then the Events of its transitions; or how long that may wait."""
        now, body = self.clock(), situation.body
        before, status = body.get("status") or {}, compute_status(situation, now)
        if (pause_s := self.writer.seconds_until_told(body, status, now)) or status == before:
            return pause_s
        await self.writer.write_status(body, status, now)
        for event in transition_events(body, before, status, self.settings.pod_name, now):
            await self.writer.post_event(event, now)
        return 0.0
