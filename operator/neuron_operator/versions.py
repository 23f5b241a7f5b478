"""Which pod template a model is to run now: its frozen one, today's rendering, or the last that was complete. Pure.

`plan.py` asks at every look. The answer follows from the revisions, from the Deployment and from what is noted on it;
whose turn it is to upgrade is decided in `turns.py`, over all models of the cluster.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final, Literal

from pydantic import ValidationError

from neuron_operator.api import NeuronModel, NeuronModelStatus
from neuron_operator.api.conditions import ConditionType
from neuron_operator.observe import ObservedDeployment, observe_deployment
from neuron_operator.records import Record, recorded
from neuron_operator.revisions import Archive, Frozen, revision_of

Body = dict[str, Any]

# "held" is an upgrade that may begin but would lose cores, see rollout.py.
Upgrade = Literal["none", "incomplete", "waits", "starts", "held"]
LONGEST_CAUSE: Final = 400


@dataclass(frozen=True)
class Version:
    """A template, what is noted on the Deployment with it, and where the model stands with an upgrade."""

    frozen: Frozen
    record: Record = field(default_factory=Record)
    upgrade: Upgrade = "none"
    is_rollback: bool = False


@dataclass(frozen=True)
class Versions:
    """The versions of a model; `has_turn` lets it begin an upgrade, `status` is the one that it has."""

    archive: Archive
    has_turn: bool = False
    status: Any = None

    def choose(self, render: Callable[[], Body], *, is_held: bool = False) -> Version:
        """The first row that applies. The wanted version is the frozen one of the present intent, or an upgrade of it.

        | situation                                                    | answer                              |
        |--------------------------------------------------------------|-------------------------------------|
        | the wanted version was given up, autoRollback is still true  | the last that was complete, still   |
        | another rendering may be adopted                             | that one                            |
        | the wanted version is too late, another was complete before, | the last that was complete, and the |
        | and autoRollback is true                                     | wanted one is given up              |
        | otherwise                                                    | the frozen one                      |
        """
        present, before = self.archive.present(render), self._before
        newer = self._newer(present, render)
        wanted = newer if newer is not None and newer.name == before.given_up else present
        if wanted.name == before.given_up and (kept := self._last_complete(wanted)) is not None:
            return Version(kept, self._given_up(wanted, before.cause), is_rollback=True)
        upgrade = self._upgrade(newer) if not is_held else "none"
        if newer is not None and upgrade == "starts":
            mark = newer.name if self._model.spec.desired_replicas else ""
            return Version(newer, Record(upgrade=mark, complete=self._complete), upgrade)
        if self._is_late(present) and (kept := self._last_complete(present)) is not None:
            return Version(kept, self._given_up(present, cause_of(self._model, self.status)), upgrade, is_rollback=True)
        mark = self._mark if present.name == self._running else ""
        return Version(present, Record(upgrade=mark, complete=self._complete), upgrade)

    def kept_record(self) -> Record:
        """What stays noted while the Deployment runs on as it does."""
        before = self._before
        if not self._rolls_back or not before.given_up:
            return Record(self._mark, self._complete)
        mark = before.upgrade if self._is_automatic and before.upgrade == before.given_up else self._mark
        return Record(mark, self._complete, before.given_up, before.cause)

    def _newer(self, present: Frozen, render: Callable[[], Body]) -> Frozen | None:
        """What an upgrade would adopt. A model that runs another intent's version is busy with something else."""
        if not self._is_automatic or self._running != present.name:
            return None
        return self.archive.rendered_anew(render, present)

    def _upgrade(self, newer: Frozen | None) -> Upgrade:
        """The first row that applies.

        | situation                                              | answer     |
        |--------------------------------------------------------|------------|
        | today's rendering is what runs                         | none       |
        | no replica is wanted, so that nothing is replaced      | starts     |
        | an upgrade is under way already, to an older rendering | starts     |
        | not all replicas are available                         | incomplete |
        | it is another model's turn                             | waits      |
        | otherwise                                              | starts     |
        """
        if newer is None:
            return "none"
        if not self._model.spec.desired_replicas or self._before.upgrade:
            return "starts"
        if not self._live.is_complete:
            return "incomplete"
        return "starts" if self.has_turn else "waits"

    def _is_late(self, wanted: Frozen) -> bool:
        live = self._live
        is_late = live.deadline_passed_at is not None and live.is_current
        return self._rolls_back and is_late and self._running == wanted.name

    def _last_complete(self, given_up: Frozen) -> Frozen | None:
        """What a rollback goes back to, if it may and if there is anything to go back to."""
        name = self._before.complete
        return self.archive.of_name(name) if self._rolls_back and name != given_up.name else None

    def _given_up(self, version: Frozen, cause: str) -> Record:
        """The mark of an upgrade stays with it: as long as it is given up, no other model upgrades."""
        is_upgrade = self._is_automatic and self._before.upgrade == version.name
        return Record(self._before.upgrade if is_upgrade else "", self._complete, version.name, cause)

    @property
    def _mark(self) -> str:
        """Of an upgrade that is under way: until every replica is available, or none is wanted."""
        is_over = self._live.is_complete or not self._model.spec.desired_replicas
        is_upgrading = self._is_automatic and not is_over and self._before.upgrade == self._running
        return self._before.upgrade if is_upgrading else ""

    @property
    def _complete(self) -> str:
        """The newest version that is known to have served with every replica, for those who may ever need it."""
        before = self._before.complete
        if not self._rolls_back and not before:
            return ""
        return self._running if self._live.is_complete and self._live.wanted else before

    @property
    def _model(self) -> NeuronModel:
        return self.archive.model

    @property
    def _is_automatic(self) -> bool:
        return self._model.spec.runtime.upgrade_policy == "Automatic"

    @property
    def _rolls_back(self) -> bool:
        return self._model.spec.rollout.auto_rollback

    @cached_property
    def _before(self) -> Record:
        return recorded(self.archive.deployment)

    @cached_property
    def _live(self) -> ObservedDeployment:
        return observe_deployment(self.archive.deployment)

    @property
    def _running(self) -> str:
        live = self.archive.deployment
        return revision_of(live["spec"]["template"]) if live is not None else ""


def cause_of(model: NeuronModel, status: Any) -> str:
    """Why the version that was rolled out last does not come up, as the status tells it before it is given up."""
    try:
        told = NeuronModelStatus.model_validate(status or {})
    except ValidationError:
        told = NeuronModelStatus()
    failure = told.last_failure
    reasons = [found.reason for found in told.conditions if found.type == ConditionType.READY]
    if failure is None or failure.reason not in reasons:
        return f"no progress for {model.spec.rollout.progress_deadline_seconds} seconds"
    where = f" (pod {failure.pod})" if failure.pod else ""
    return f"{failure.reason}: {failure.message[:LONGEST_CAUSE].rstrip('.')}{where}"
