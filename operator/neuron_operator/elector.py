"""Holds the lease, or waits for it: opens the gate for as long as this replica leads.

`process.py` runs it beside the workers and calls `release` at the end. What to do about the Lease is decided in
lease.py. Losing it closes the gate, not the process, whose indices stay warm for the next time.
"""

import asyncio
import logging
import random
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol

from neuron_operator import errors
from neuron_operator.cluster import Ref
from neuron_operator.gate import Gate
from neuron_operator.lease import (
    RENEW_DEADLINE_S,
    RETRY_S,
    Decision,
    Sighting,
    Step,
    decide,
    held_lease,
    holder_of,
    released_lease,
    sighting,
)
from neuron_operator.names import LEASE_NAME

logger = logging.getLogger(__name__)

Body = dict[str, Any]

# Of a connection that says nothing any more there must be time for a second try before the deadline.
ATTEMPT_TIMEOUT_S: Final = 2.0
JITTER: Final = 0.2
NO_ANSWER: Final = "the API server does not answer"


class Leases(Protocol):
    """What the elector needs from the API server; a replace loses where the object is another by then."""

    async def get(self, ref: Ref) -> Body: ...

    async def create(self, body: Body) -> Body: ...

    async def replace(self, body: Body) -> Body: ...


@dataclass
class Elector:
    """One candidate of that identity. Its moments are the gate's."""

    leases: Leases
    gate: Gate
    identity: str
    namespace: str
    wall_clock: Callable[[], datetime]
    released: asyncio.Event = field(default_factory=asyncio.Event)
    """Set by whoever sees that nobody holds the lease any more."""
    _seen: Sighting | None = None
    _must_look: bool = True
    _leads: bool = False
    _told: str = ""

    async def run(self) -> None:
        """Until it is canceled."""
        chance = random.SystemRandom()
        while True:
            self.released.clear()
            delay_s = await self.attempt()
            with suppress(TimeoutError):
                async with asyncio.timeout(delay_s * (1 - JITTER * chance.random())):
                    await self.released.wait()

    async def attempt(self) -> float:
        """Look, decide, write; the seconds until the next attempt."""
        # One that slept past its deadline may not even renew before it knows that nobody has taken its place.
        self._must_look = self._must_look or not self.gate.is_open
        looks, delay_s, problem = self._must_look, RETRY_S, ""
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                delay_s = await self._attempt()
        except errors.ConflictError:
            # What we held is perhaps another's, to be known at once; who had just looked only lost a race.
            self._must_look, delay_s = True, RETRY_S if looks else 0.0
        except (errors.ApiError, TimeoutError) as error:
            problem = str(error) or NO_ANSWER
            # Who knows whether it was written.
            self._must_look = True
        self._tell(problem)
        return delay_s

    async def release(self) -> None:
        """Give the lease back, so that another leads at once; to be called when nothing here writes any more."""
        self.gate.close()
        if self._seen is None:
            return
        try:
            async with asyncio.timeout(ATTEMPT_TIMEOUT_S):
                # A renewal that was on its way when the elector was stopped may come in between.
                while not await self._is_given_back():
                    pass
        except (errors.ApiError, TimeoutError) as error:
            logger.warning("the lease is not released and must run out: %s", str(error) or NO_ANSWER)

    @property
    def _ref(self) -> Ref:
        return Ref("Lease", self.namespace, LEASE_NAME)

    async def _attempt(self) -> float:
        if self._seen is None or self._must_look:
            self._seen = sighting(self._seen, await self._look(), self.gate.clock())
            self._must_look = False
        decision = decide(self._seen, self.identity, self.gate.clock())
        if decision.step is Step.WAIT:
            self.gate.close()
            self._must_look = True
        else:
            await self._hold(decision, self._seen.lease)
        return decision.look_again_s

    async def _is_given_back(self) -> bool:
        lease = await self._look()
        if lease is None or holder_of(lease) != self.identity:
            return True
        try:
            await self.leases.replace(released_lease(lease, self.wall_clock()))
        except errors.ConflictError:
            return False
        logger.info("the lease is released")
        return True

    async def _look(self) -> Body | None:
        try:
            return await self.leases.get(self._ref)
        except errors.NotFoundError:
            return None

    async def _hold(self, decision: Decision, lease: Body | None) -> None:
        # Another counts from the moment it first sees the renewal, which is never before we asked for it.
        asked_at_s = self.gate.clock()
        wanted = held_lease(lease, self.identity, self.namespace, self.wall_clock())
        written = await (self.leases.replace(wanted) if lease is not None else self.leases.create(wanted))
        self._seen = sighting(self._seen, written, self.gate.clock())
        self.gate.open(asked_at_s + RENEW_DEADLINE_S)
        if not self._leads:
            logger.info("this replica leads as %s: %s", self.identity, decision.reason)

    def _tell(self, problem: str) -> None:
        """Say once that we no longer lead, or what keeps us from it, such as a right that was not granted."""
        if self._leads and not self.gate.is_open:
            logger.warning("this replica leads no more: %s", problem or "the lease is another's")
        elif problem and problem != self._told:
            logger.warning("the lease can't be had: %s", problem)
        self._told, self._leads = problem, self.gate.is_open


@dataclass
class Alone:
    """The only replica there is: it leads from the start to the end, and asks nobody."""

    gate: Gate

    async def run(self) -> None:
        self.gate.open()
        await asyncio.Event().wait()

    async def release(self) -> None:
        self.gate.close()
