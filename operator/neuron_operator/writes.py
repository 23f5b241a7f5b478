"""Carries out a plan: the only caller of the cluster's writing methods, each right behind the gate.

`reconcile.py` calls it; every answer goes into the indices at once, so that the next decision is made on it. What the
API server refuses for good comes back as a Refusal; what trying again may mend is raised.
"""

import json
import logging
from collections.abc import Awaitable, Callable, Hashable, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import partial
from typing import Any, Final

from neuron_operator import errors
from neuron_operator.api import NeuronModel
from neuron_operator.api.conditions import ConditionType, Reason
from neuron_operator.changes import Change, differences
from neuron_operator.cluster import Cluster, Ref
from neuron_operator.contention import PATH_OWNERS, Contention, owner_of
from neuron_operator.events import EventBudget
from neuron_operator.gate import Gate
from neuron_operator.indices import Indices, Key, state_of
from neuron_operator.mending import mending_patch
from neuron_operator.metrics import Metrics
from neuron_operator.names import KIND, LABEL_MODEL
from neuron_operator.plan import Plan, Refusal, adoption_of, controller_of, is_owner, name_conflict
from neuron_operator.status import is_new, is_only_progress

logger = logging.getLogger(__name__)

Body = dict[str, Any]
PATHS_LOGGED: Final = 5
REVISION: Final = "ControllerRevision"
# Below the five seconds within which a status is to be true.
PROGRESS_EVERY: Final = timedelta(seconds=4)


@dataclass(frozen=True)
class Writer:
    cluster: Cluster
    indices: Indices
    gate: Gate
    metrics: Metrics
    contention: Contention = field(default_factory=Contention)
    events: EventBudget = field(default_factory=EventBudget)
    # Whether other models wait to be looked at for the first time.
    is_busy: Callable[[], bool] = lambda: False
    # Told what we have written ourselves: a watch may tell of it before the API server has answered.
    excuse: Callable[[Key, Hashable], None] = lambda key, state: None
    # When a model was told of last; one that wasn't, when its first look was.
    _told_at: dict[Key, datetime] = field(default_factory=dict)
    _postponed: set[Key] = field(default_factory=set)

    async def carry_out(self, plan: Plan, now: datetime) -> Refusal | None:
        """Adopt, apply, delete, in the plan's order; what was refused first. A Service does not wait for a Deployment
        that is refused, but a Deployment does for the revision that holds its template."""
        model, refused = plan.model, list[Refusal]()
        if model is None:
            return None
        steps = [
            *((body["kind"], partial(self._adopt, body, model, now)) for body in plan.adopt),
            *((change.body["kind"], partial(self._repair, change, model, now)) for change in plan.apply),
        ]
        for kind, step in steps:
            refusal = await _refusal_of(step)
            if refusal is not None:
                refused.append(refusal)
                if kind == REVISION:
                    break
        for body in plan.delete if not refused else ():
            await self._delete(body, model)
        return refused[0] if refused else None

    def seconds_until_told(self, model: Mapping[str, Any], status: Body, now: datetime) -> float:
        """How long the status should wait: mere progress is told every few seconds, everything else at once.

        So is the first word on a model, unless others wait to be looked at: most of many that come together serve
        before it would be their turn to be told of twice.
        """
        key, pause_s = _at(model), 0.0
        if is_only_progress(model.get("status") or {}, status) and (key in self._told_at or self.is_busy()):
            told_at = self._told_at.setdefault(key, now)
            pause_s = max(0.0, (told_at + PROGRESS_EVERY - now).total_seconds())
        self._postpone(key, is_postponed=pause_s > 0)
        return pause_s

    async def write_status(self, model: Mapping[str, Any], status: Body, now: datetime) -> None:
        self.gate.ensure_open()
        written = await self.cluster.write_status(model, status)
        self.indices.put(KIND, written)
        self.excuse(_at(model), state_of(KIND, written))
        self._told_at[_at(model)] = now
        told = next(c for c in status["conditions"] if c["type"] == ConditionType.READY)
        logger.info(
            "model=%s/%s action=status ready=%s reason=%s message=%s",
            *_at(model),
            told["status"],
            told["reason"],
            json.dumps(told["message"]),
        )

    async def post_event(self, event: Body, now: datetime) -> None:
        """Events are for people; one that can't be posted, or is one too many, must not hold up the status."""
        key = Key(event["regarding"]["namespace"], event["regarding"]["name"])
        if not self.events.spend(key, now):
            self.metrics.events_dropped.inc()
            return
        self.gate.ensure_open()
        try:
            await self.cluster.post_event(event)
        except errors.ApiError as error:
            logger.warning("model=%s/%s action=none event=%s reason=%s", *key, event["reason"], json.dumps(str(error)))

    def is_new(self, key: Key) -> bool:
        """Whether nobody has looked at the model yet: it has no status, and none that is put off."""
        return key not in self._told_at and is_new(self.indices.get(KIND, key))

    def forget(self, key: Key) -> None:
        """The model is gone; what was remembered of it goes too."""
        self.contention.forget(key)
        self.events.forget(key)
        self._told_at.pop(key, None)
        self._postpone(key, is_postponed=False)

    def _postpone(self, key: Key, *, is_postponed: bool) -> None:
        (self._postponed.add if is_postponed else self._postponed.discard)(key)
        self.metrics.postponed_statuses.set(len(self._postponed))

    async def _adopt(self, body: Body, model: NeuronModel, now: datetime) -> Refusal | None:
        live = self.indices.get(body["kind"], _at(body))
        owner = controller_of(live) if live is not None else None
        if live is None or (owner is not None and not is_owner(owner, model)):
            raise errors.ConflictError(f"{body['kind']} {body['metadata']['name']} is gone or taken by now")
        change = await self._spared(Change(body, live, (PATH_OWNERS,)), model, now)
        if change is None:
            return None
        self.gate.ensure_open()
        adopted = await self.cluster.set_owners(Ref.of(body), live, adoption_of(model))
        self.gate.ensure_open()
        self._keep(change, await self.cluster.apply_alone(body, adopted), "adopted", model, now)
        return None

    async def _repair(self, change: Change, model: NeuronModel, now: datetime) -> Refusal | None:
        spared = await self._spared(change, model, now)
        return await self._apply(spared, model, now) if spared is not None else None

    async def _spared(self, change: Change, model: NeuronModel, now: datetime) -> Change | None:
        """The change less what is left to others, and less what it would repair once too often from now on."""
        key = _key(model)
        lost = self.contention.lost(key, model.metadata.generation, change, now)
        if lost:
            # The indices keep no managedFields: they are read when somebody must be named, not before.
            found = await self.cluster.get(Ref.of(change.body))
        for given_up in lost:
            owner = owner_of(found, given_up.path)
            self.contention.give_up(key, given_up, owner, now)
            manager = json.dumps(owner.manager)
            _log(model, change.body, "left", paths=given_up.path, reason=Reason.CHILD_CONFLICT, manager=manager)
        return self.contention.spare(key, change)

    async def _apply(self, change: Change, model: NeuronModel, now: datetime) -> Refusal | None:
        body, live = change.body, self._newest(change)
        if live is None and body["kind"] != REVISION:
            await self._ensure_alive(model)
        self.gate.ensure_open()
        try:
            applied = await self.cluster.apply(body, live)
        except errors.ConflictError:
            if live is not None:
                raise
            return await self._occupied(body, model)
        except errors.RejectedError:
            operations = mending_patch(body, live) if live is not None else []
            if live is None or not operations:
                raise
            self.gate.ensure_open()
            mended = await self.cluster.patch(live, operations)
            self.gate.ensure_open()
            applied = await self.cluster.apply_alone(body, mended)
        self._keep(change, applied, "changed" if live is not None else "created", model, now)
        return None

    async def _ensure_alive(self, model: NeuronModel) -> None:
        """Before a child of a model that has had some is made again: the watch of the models may lag behind the others,
        and a child of a model that is gone would be collected at once, and call for the next."""
        key = _key(model)
        known = self.indices.get(KIND, key)
        if known is None or is_new(known):
            return
        try:
            found = await self.cluster.get(Ref(KIND, *key))
        except errors.NotFoundError:
            self.indices.drop(KIND, known)
            raise errors.ConflictError(f"{KIND} {model.name} is gone") from None
        self.indices.put(KIND, found)
        if found["metadata"]["uid"] != model.metadata.uid or "deletionTimestamp" in found["metadata"]:
            raise errors.ConflictError(f"{KIND} {model.name} is being deleted, or another one by now")

    def _newest(self, change: Change) -> Body | None:
        """The object as it is known by now: controllers go on writing its status, which decides nothing. Where the same
        change would not come out of it any more, it must be decided again."""
        body, live = change.body, change.live
        if live is None:
            return None
        newest = self.indices.get(body["kind"], _at(body))
        if newest is None or set(differences(body, newest)) != set(differences(body, live)):
            raise errors.ConflictError(f"{body['kind']} {body['metadata']['name']} has changed since it was looked at")
        return newest

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

    async def _delete(self, body: Body, model: NeuronModel) -> None:
        """What may not be deleted stays: it is not what the model's pods are made of."""
        self.gate.ensure_open()
        kind = body["kind"]
        try:
            await self.cluster.delete(Ref(kind, *_at(body)), body)
        except (errors.ForbiddenError, errors.RejectedError, errors.WebhookError) as error:
            _log(model, body, "left", reason="Unwanted", message=json.dumps(str(error)))
            return
        self.metrics.child_writes.labels(kind, "deleted").inc()
        _log(model, body, "deleted", reason="Unwanted")

    def _keep(self, change: Change, answer: Body, action: str, model: NeuronModel, now: datetime) -> None:
        """Decide on what the API server answered from now on, and remember what was written."""
        kind = change.body["kind"]
        self.indices.put(kind, answer)
        self.excuse(_key(model), state_of(kind, answer))
        self.metrics.child_writes.labels(kind, action).inc()
        self.contention.repaired(_key(model), model.metadata.generation, change, now)
        paths = ",".join(change.paths[:PATHS_LOGGED])
        _log(model, change.body, action, paths=paths, reason="Different" if change.paths else "Missing")


async def _refusal_of(step: Callable[[], Awaitable[Refusal | None]]) -> Refusal | None:
    """Carry it out; what the API server refuses of it until somebody changes something."""
    try:
        return await step()
    except errors.RejectedError as error:
        return Refusal(Reason.CHILD_REJECTED, f"The API server refuses to store a child: {error}. Correct the spec.")
    except errors.ForbiddenError as error:
        return _forbidden(error)
    except errors.WebhookError as error:
        return Refusal(Reason.PROGRESSING, f"{error}. It is tried again; see to it that the webhook answers.")


def _log(model: NeuronModel, body: Mapping[str, Any], action: str, **fields: str) -> None:
    """One line for one decision that changed something."""
    child = (body["kind"], body["metadata"]["name"])
    rest = " ".join(f"{name}={value}" for name, value in fields.items())
    logger.info("model=%s/%s action=%s child=%s/%s %s", *_key(model), action, *child, rest)


def _key(model: NeuronModel) -> Key:
    return Key(model.namespace, model.name)


def _at(body: Mapping[str, Any]) -> Key:
    return Key(body["metadata"]["namespace"], body["metadata"]["name"])


def _forbidden(error: errors.ForbiddenError) -> Refusal:
    if "exceeded quota" in str(error):
        return Refusal(Reason.QUOTA_EXCEEDED, f"{error}. Raise the namespace's ResourceQuota, or ask for less.")
    return Refusal(
        Reason.CHILD_REJECTED,
        f"{error}. Correct the spec, or ask who set the policy; the operator's own rights are in its chart.",
    )
