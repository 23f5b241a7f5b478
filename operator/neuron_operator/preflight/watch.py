"""Keeps the preflight findings up to date while the operator runs: a metric, a log line and an Event per transition.

`process.py` runs it beside the workers. It looks again when a node or a served API changes, and every five minutes for
what no watch tells. Every replica measures; only the one that leads posts Events.
"""

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from neuron_operator.cluster import RESOURCES, Ref
from neuron_operator.errors import ApiError, LeadershipLostError, NotFoundError
from neuron_operator.events import event_about
from neuron_operator.gate import Gate
from neuron_operator.indices import API_SERVICE, Indices, Key
from neuron_operator.metrics import Metrics
from neuron_operator.names import KIND, LEASE_NAME
from neuron_operator.preflight.checks import MONITORING_API, Check, Finding, Outcome, check
from neuron_operator.preflight.reading import Readable, completed
from neuron_operator.preflight.record import Record
from neuron_operator.preflight.surroundings import observe_surroundings
from neuron_operator.settings import Settings

logger = logging.getLogger(__name__)

Body = dict[str, Any]
# Of many changes at once one look is enough, and of changes that never end one in a while.
DEBOUNCE_S: Final = 1.0
PAUSE_S: Final = 5.0
# What follows from a change may take a moment to be served, such as the second of two definitions.
SECOND_LOOK_S: Final = 30.0
QUIET_S: Final = 300.0
API_SERVICE_NAME: Final = ".".join(reversed(MONITORING_API.split("/")))


class Door(Readable, Protocol):
    """What this needs from the API server, and no more."""

    async def get(self, ref: Ref) -> Body: ...

    async def post_event(self, event: Body) -> None: ...


@dataclass(frozen=True)
class Told:
    """The last outcome that people could see, and the object whose Events said so."""

    outcome: Outcome
    regarding: Mapping[str, Any]


@dataclass
class PreflightWatch:
    cluster: Door
    indices: Indices
    gate: Gate
    metrics: Metrics
    settings: Settings
    wall_clock: Callable[[], datetime]
    record: Record = field(default_factory=Record)
    _told: dict[Check, Told] = field(default_factory=dict)

    async def run(self, synced: asyncio.Event, changed: asyncio.Event) -> None:
        """Until it is canceled; `changed` is cleared here and by nobody else."""
        await synced.wait()
        has_changed = False
        while True:
            changed.clear()
            looked_at = _now()
            quiet_s = await self.look()
            try:
                async with asyncio.timeout(min(quiet_s, SECOND_LOOK_S) if has_changed else quiet_s):
                    has_changed = await changed.wait()
            except TimeoutError:
                has_changed = False
            else:
                await asyncio.sleep(max(DEBOUNCE_S, looked_at + PAUSE_S - _now()))

    async def look(self) -> float:
        """Look once and tell what is news; in how many seconds to look again if nothing changes."""
        found = observe_surroundings(
            self.indices.every("Node"),
            self.indices.every(KIND),
            self.indices.every("Pod"),
            self.settings.scheduler_name,
        )
        has_monitoring = self.indices.get(API_SERVICE, Key("", API_SERVICE_NAME)) is not None
        findings = check(await completed(found, self.cluster, has_monitoring=has_monitoring))
        for news in self.record.take(findings, _now()):
            self._measure(news)
        await self._tell()
        next_look_s = self.record.next_look_s(_now())
        return QUIET_S if next_look_s is None else min(next_look_s, QUIET_S)

    def _measure(self, news: Finding) -> None:
        level = logging.WARNING if news.outcome is Outcome.FAILED and not news.check.is_advice else logging.INFO
        logger.log(
            level, "preflight check=%s outcome=%s message=%s", news.check, news.outcome, json.dumps(news.message)
        )
        if news.outcome is Outcome.UNKNOWN:
            with suppress(KeyError):
                self.metrics.preflight.remove(news.check)
        else:
            self.metrics.preflight.labels(news.check).set(news.outcome is Outcome.PASSED)

    async def _tell(self) -> None:
        """Events are for people: one that can't be posted is tried again with the next look."""
        try:
            for finding in self.record.standing.values():
                await self._tell_of(finding)
        except LeadershipLostError:
            # Whoever leads now tells the rest; if that is us again, what was posted is there to be found.
            self._told.clear()
        except ApiError as error:
            logger.warning("an Event of the preflight checks can't be posted: %s", error)

    async def _tell_of(self, finding: Finding) -> None:
        """| told before | now            | Event                                                      |
        |-------------|----------------|------------------------------------------------------------|
        | the same    |                | none                                                       |
        | another     | pass or fail   | one                                                        |
        | nothing yet | fail, required | one, unless it is there: a restart is no transition        |
        | nothing yet | otherwise      | none                                                       |
        """
        told = self._told.get(finding.check)
        if finding.outcome is Outcome.UNKNOWN or (told is not None and told.outcome is finding.outcome):
            return
        self.gate.ensure_open()
        if told is None and (finding.outcome is Outcome.PASSED or finding.check.is_advice):
            self._told[finding.check] = Told(finding.outcome, {})
            return
        regarding = await self._regarding(finding, told)
        event = _event(finding, regarding, self.settings.pod_name, self.wall_clock())
        if told is not None or not await self._exists(event):
            self.gate.ensure_open()
            await self.cluster.post_event(event)
        self._told[finding.check] = Told(finding.outcome, regarding)

    async def _exists(self, event: Body) -> bool:
        try:
            await self.cluster.get(Ref.of(event))
        except NotFoundError:
            return False
        return True

    async def _regarding(self, finding: Finding, told: Told | None) -> Mapping[str, Any]:
        """The first of the nodes; what passes again is told of where its failure was; the rest of our Lease."""
        if told is not None and told.regarding and finding.outcome is Outcome.PASSED:
            return told.regarding
        node = self.indices.get("Node", Key("", finding.nodes[0])) if finding.nodes else None
        if node is not None:
            return {"apiVersion": "v1", "kind": "Node", **_identity(node)}
        lease = Ref("Lease", self.settings.lease_namespace, LEASE_NAME)
        regarding = {"apiVersion": RESOURCES["Lease"][0], "kind": "Lease", "name": lease.name}
        try:
            uid = _identity(await self.cluster.get(lease))
        except NotFoundError:
            uid = {}
        return {**regarding, **uid, "namespace": lease.namespace}


def _event(finding: Finding, regarding: Mapping[str, Any], instance: str, now: datetime) -> Body:
    has_failed = finding.outcome is Outcome.FAILED
    told = {"reason": f"{finding.check}{'Failed' if has_failed else 'Passed'}", "message": finding.message}
    kind = "Warning" if has_failed and not finding.check.is_advice else "Normal"
    return event_about(regarding, told, kind, "Preflight", instance, now)


def _identity(body: Body) -> Body:
    return {name: body["metadata"][name] for name in ("name", "uid") if name in body["metadata"]}


def _now() -> float:
    return asyncio.get_running_loop().time()
