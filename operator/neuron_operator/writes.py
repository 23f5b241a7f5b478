"""Carries out a plan: the only caller of the cluster's writing methods, each right behind the gate.

`reconcile.py` calls it; every answer goes into the indices at once, so that the next decision is made on it. What the
API server refuses for good comes back as a Refusal; what trying again may mend is raised.
"""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from neuron_operator import errors
from neuron_operator.api import NeuronModel
from neuron_operator.api.conditions import ConditionType, Reason
from neuron_operator.changes import Change, usurped_lists
from neuron_operator.cluster import Cluster, Ref
from neuron_operator.gate import Gate
from neuron_operator.indices import Indices, Key
from neuron_operator.metrics import Metrics
from neuron_operator.names import KIND, LABEL_MODEL
from neuron_operator.plan import Plan, Refusal, adoption_of, controller_of, is_owner, name_conflict

logger = logging.getLogger(__name__)

Body = dict[str, Any]


@dataclass(frozen=True)
class Writer:
    cluster: Cluster
    indices: Indices
    gate: Gate
    metrics: Metrics

    async def carry_out(self, plan: Plan) -> Refusal | None:
        """Adopt, apply, delete, in the plan's order; stops at the first object that is refused."""
        model = plan.model
        if model is None:
            return None
        try:
            for body in plan.adopt:
                await self._adopt(body, model)
            for change in plan.apply:
                refusal = await self._apply(change, model)
                if refusal is not None:
                    return refusal
        except errors.RejectedError as error:
            return Refusal(
                Reason.CHILD_REJECTED, f"The API server refuses to store a child: {error}. Correct the spec."
            )
        except errors.ForbiddenError as error:
            return _forbidden(error)
        for body in plan.delete:
            await self._delete(body)
        return None

    async def write_status(self, model: Mapping[str, Any], status: Body) -> None:
        self.gate.ensure_open()
        self.indices.put(KIND, await self.cluster.write_status(model, status))
        told = next(c for c in status["conditions"] if c["type"] == ConditionType.READY)
        logger.info("status %s/%s Ready=%s %s: %s", *_at(model), told["status"], told["reason"], told["message"])

    async def post_event(self, event: Body) -> None:
        """Events are for people; one that can't be posted must not hold up the status."""
        self.gate.ensure_open()
        try:
            await self.cluster.post_event(event)
        except errors.ApiError as error:
            logger.warning("event %s not posted: %s", event["reason"], error)

    async def _adopt(self, body: Body, model: NeuronModel) -> None:
        live = self.indices.get(body["kind"], _at(body))
        assert live is not None, "only what exists is adopted"
        self.gate.ensure_open()
        adopted = await self.cluster.set_owners(Ref.of(body), live, adoption_of(model))
        self.gate.ensure_open()
        self._keep(body, await self.cluster.apply_alone(body, adopted), "adopted", ())

    async def _apply(self, change: Change, model: NeuronModel) -> Refusal | None:
        body, live = change.body, change.live
        self.gate.ensure_open()
        try:
            applied = await self.cluster.apply(body, live)
        except errors.ConflictError:
            if live is not None:
                raise
            return await self._occupied(body, model)
        except errors.RejectedError:
            usurped = dict(usurped_lists(body, live)) if live is not None else {}
            if live is None or not usurped:
                raise
            self.gate.ensure_open()
            replaced = await self.cluster.replace_lists(live, usurped)
            self.gate.ensure_open()
            applied = await self.cluster.apply_alone(body, replaced)
        self._keep(body, applied, "changed" if live is not None else "created", change.paths)
        return None

    async def _occupied(self, body: Body, model: NeuronModel) -> Refusal | None:
        """An object of that name exists although no watch showed it: ours without its label, or somebody's."""
        found = await self.cluster.get(Ref.of(body))
        owner = controller_of(found)
        is_ours = (
            is_owner(owner, model) if owner else found["metadata"].get("labels", {}).get(LABEL_MODEL) == model.name
        )
        if not is_ours:
            return name_conflict(body, owner)
        self.indices.put(body["kind"], found)
        raise errors.ConflictError(f"{body['kind']} {model.name} exists already and is taken back", 409)

    async def _delete(self, body: Body) -> None:
        self.gate.ensure_open()
        kind = body["kind"]
        await self.cluster.delete(Ref(kind, *_at(body)), body["metadata"]["uid"])
        self.metrics.child_writes.labels(kind, "deleted").inc()
        logger.info("deleted %s %s/%s: nothing asks for it any more", kind, *_at(body))

    def _keep(self, body: Body, answer: Body, why: str, paths: tuple[str, ...]) -> None:
        kind = body["kind"]
        self.indices.put(kind, answer)
        self.metrics.child_writes.labels(kind, why).inc()
        logger.info("%s %s %s/%s %s", why, kind, *_at(body), " ".join(paths[:5]))


def _at(body: Mapping[str, Any]) -> Key:
    return Key(body["metadata"]["namespace"], body["metadata"]["name"])


def _forbidden(error: errors.ForbiddenError) -> Refusal:
    if "exceeded quota" in str(error):
        return Refusal(Reason.QUOTA_EXCEEDED, f"{error}. Raise the namespace's ResourceQuota, or ask for less.")
    return Refusal(
        Reason.CHILD_REJECTED,
        f"{error}. Correct the spec, or ask who set the policy; the operator's own rights are in its chart.",
    )
