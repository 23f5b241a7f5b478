"""Who leads: the loop around the decisions, and that never two lead at a time whatever goes wrong."""

import asyncio
import copy
import itertools
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_operator import errors
from neuron_operator.cluster import Ref
from neuron_operator.elector import ATTEMPT_TIMEOUT_S, Alone, Elector
from neuron_operator.gate import Gate
from neuron_operator.lease import RETRY_S, held_lease, holder_of

NOW = datetime(2026, 1, 1, tzinfo=UTC)
Body = dict[str, Any]


@dataclass
class Store:
    """One Lease in memory, with the API server's precondition, and a clock that requests move on."""

    now_s: float = 1000.0
    stored: Body | None = None
    failures: list[errors.ApiError] = field(default_factory=list)
    # What happens before the next write is stored, and before its answer arrives.
    on_the_way: Callable[[], Awaitable[None]] | None = None
    on_the_way_back: Callable[[], Awaitable[None]] | None = None
    writes: int = 0
    _versions: "itertools.count[int]" = field(default_factory=lambda: itertools.count(1))

    def clock(self) -> float:
        return self.now_s

    async def get(self, ref: Ref) -> Body:
        self._fail()
        if self.stored is None:
            raise errors.NotFoundError(f"{ref} not found", 404)
        return copy.deepcopy(self.stored)

    async def create(self, body: Body) -> Body:
        back = await self._go()
        if self.stored is not None:
            raise errors.ConflictError("it exists", 409)
        return await self._return(self.put(body), back)

    async def replace(self, body: Body) -> Body:
        back = await self._go()
        if self.stored is None:
            raise errors.NotFoundError("it is gone", 404)
        if body["metadata"]["resourceVersion"] != self.stored["metadata"]["resourceVersion"]:
            raise errors.ConflictError("it has changed", 409)
        return await self._return(self.put(body), back)

    def holder(self) -> str:
        return holder_of(self.stored or {})

    def put(self, body: Body) -> Body:
        self.writes += 1
        version = str(next(self._versions))
        self.stored = copy.deepcopy({**body, "metadata": {**body["metadata"], "resourceVersion": version}})
        return copy.deepcopy(self.stored)

    async def _go(self) -> Callable[[], Awaitable[None]] | None:
        """On the way to the API server; what happens on the way back was settled at the start."""
        self._fail()
        there, back = self.on_the_way, self.on_the_way_back
        self.on_the_way = self.on_the_way_back = None
        if there is not None:
            await there()
        return back

    @staticmethod
    async def _return(answer: Body, back: Callable[[], Awaitable[None]] | None) -> Body:
        if back is not None:
            await back()
        return answer

    def _fail(self) -> None:
        if self.failures:
            raise self.failures.pop(0)


def candidate(store: Store, identity: str = "me") -> Elector:
    # People's clocks tell the truth only by chance: here they tell something else each time.
    return Elector(
        store, Gate(store.clock), identity, "system", lambda: NOW.replace(microsecond=random.randrange(10**6))
    )


@pytest.fixture
def store() -> Store:
    return Store()


async def test_the_first_leads_and_the_second_waits(store: Store) -> None:
    first, second = candidate(store), candidate(store, "other")
    await first.attempt()
    await second.attempt()
    assert (store.holder(), first.gate.is_open, second.gate.is_open) == ("me", True, False)


async def test_while_it_renews_it_leads_and_asks_once_a_time(store: Store) -> None:
    first, second = candidate(store), candidate(store, "other")
    for _ in range(30):
        await first.attempt()
        await second.attempt()
        store.now_s += 1.0
        assert first.gate.is_open
    assert (store.holder(), store.writes) == ("me", 30)


async def test_a_leader_that_is_gone_is_followed_when_its_time_is_over(store: Store) -> None:
    first, second = candidate(store), candidate(store, "other")
    await first.attempt()
    seen_s, waited_s = store.now_s, 0.0
    while not second.gate.is_open:
        delay_s = await second.attempt()
        store.now_s += delay_s
        waited_s = store.now_s - delay_s - seen_s
    assert waited_s == 7.0
    assert not first.gate.is_open


async def test_a_released_lease_is_taken_at_once(store: Store) -> None:
    first, second = candidate(store), candidate(store, "other")
    await first.attempt()
    await second.attempt()
    await first.release()
    assert (store.holder(), first.gate.is_open) == ("", False)
    store.now_s += RETRY_S
    await second.attempt()
    assert second.gate.is_open


async def test_a_leader_that_was_stopped_steps_down_and_waits_for_its_turn(store: Store) -> None:
    first, second = candidate(store), candidate(store, "other")
    await first.attempt()
    await second.attempt()
    store.now_s += 7.0
    await second.attempt()
    assert second.gate.is_open
    with pytest.raises(errors.LeadershipLostError):
        first.gate.ensure_open()
    while not first._must_look:
        await first.attempt()
    assert not first.gate.is_open
    await second.release()
    await first.attempt()
    assert first.gate.is_open


async def test_a_renewal_that_another_forestalled_closes_the_gate_before_its_deadline(store: Store) -> None:
    first = candidate(store)
    await first.attempt()
    store.put(held_lease(None, "other", "system", NOW))
    assert await first.attempt() == 0.0
    assert await first.attempt() == RETRY_S
    assert not first.gate.is_open


async def test_a_deadline_passes_while_the_api_server_is_gone_and_leading_goes_on_after(store: Store) -> None:
    first = candidate(store)
    await first.attempt()
    for passed_s in range(1, 9):
        store.now_s += 1.0
        store.failures.append(errors.UnreachableError("down"))
        await first.attempt()
        assert first.gate.is_open is (passed_s < 5)
    await first.attempt()
    assert (first.gate.is_open, store.holder()) == (True, "me")


async def test_a_renewal_whose_answer_comes_after_the_deadline_opens_nothing(store: Store) -> None:
    first = candidate(store)

    async def wait() -> None:
        store.now_s += 5.0

    store.on_the_way_back = wait
    await first.attempt()
    assert (store.holder(), first.gate.is_open) == ("me", False)


async def test_an_api_server_that_does_not_answer_is_given_up(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("neuron_operator.elector.ATTEMPT_TIMEOUT_S", 0.01)
    asked = asyncio.Event()

    async def get(_: Ref) -> Body:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    monkeypatch.setattr(store, "get", get)
    first = candidate(store)
    async with asyncio.timeout(60):
        assert await first.attempt() == RETRY_S
        assert asked.is_set()
        await first.release()
    assert not first.gate.is_open
    assert ATTEMPT_TIMEOUT_S * 2 < 5.0


async def test_a_renewal_on_its_way_does_not_keep_the_lease_from_being_released(store: Store) -> None:
    first = candidate(store)
    await first.attempt()

    async def renew() -> None:
        assert store.stored is not None
        store.put(held_lease(store.stored, "me", "system", NOW))

    store.on_the_way = renew
    await first.release()
    assert store.holder() == ""


@pytest.mark.parametrize("looked", [False, True], ids=["never-asked", "a-standby"])
async def test_who_does_not_hold_the_lease_releases_nothing(store: Store, looked: bool) -> None:
    first, second = candidate(store), candidate(store, "other")
    await first.attempt()
    if looked:
        await second.attempt()
    await second.release()
    assert store.holder() == "me"


async def test_a_failure_to_release_does_not_hold_up_the_end(store: Store) -> None:
    first = candidate(store)
    await first.attempt()
    store.failures.append(errors.UnreachableError("down"))
    await first.release()
    assert (store.holder(), first.gate.is_open) == ("me", False)


async def test_what_keeps_it_from_leading_is_told_once(store: Store, caplog: pytest.LogCaptureFixture) -> None:
    first = candidate(store)
    for failure in ("leases is forbidden", "leases is forbidden", "down"):
        store.failures.append(errors.ForbiddenError(failure, 403))
        await first.attempt()
    told = [record.getMessage() for record in caplog.records if record.levelname == "WARNING"]
    assert told == ["the lease can't be had: leases is forbidden", "the lease can't be had: down"]


async def test_alone_it_leads_until_the_end() -> None:
    only = Alone(Gate())
    running = asyncio.create_task(only.run())
    async with asyncio.timeout(60):
        await only.gate.wait_until_open()
    await only.release()
    assert not only.gate.is_open
    running.cancel()


@dataclass
class Act:
    """What one candidate does after a while, and what happens while its requests are under way."""

    who: int
    what: str
    after_s: float
    there_s: float
    back_s: float
    others_before: int
    others_after: int


SECONDS = st.sampled_from([0.0, 0.0, 0.9, 1.9, 3.5, 7.0])
WHATS = st.sampled_from(["attempt"] * 9 + ["release", "not asked", "answer lost"])
ACTS = st.lists(
    st.builds(Act, st.integers(0, 2), WHATS, SECONDS, SECONDS, SECONDS, st.integers(0, 2), st.integers(0, 2)),
    min_size=20,
    max_size=40,
)


class Play:
    """Acts one after another, some of them while a request of an earlier one is on its way or its answer is."""

    def __init__(self, acts: list[Act]) -> None:
        self.store = Store()
        self.acts = iter(acts)
        self.names = itertools.count()
        self.everyone = [self.newcomer() for _ in range(3)]
        self.busy: set[int] = set()

    def newcomer(self) -> Elector:
        return candidate(self.store, str(next(self.names)))

    async def run(self, count: int = 1_000) -> None:
        for act in itertools.islice(self.acts, count):
            self.pass_by(act.after_s)
            if act.who not in self.busy:
                self.busy.add(act.who)
                await self.perform(act)
                self.busy.discard(act.who)
            self.check()

    async def perform(self, act: Act) -> None:
        async def there() -> None:
            if act.what == "not asked":
                raise errors.UnreachableError("down")
            self.pass_by(act.there_s)
            await self.run(act.others_before)

        async def back() -> None:
            await self.run(act.others_after)
            self.pass_by(act.back_s)
            if act.what == "answer lost":
                raise errors.UnreachableError("reset")

        self.store.on_the_way, self.store.on_the_way_back = there, back
        if act.what == "release":
            await self.everyone[act.who].release()
            self.everyone[act.who] = self.newcomer()
        else:
            await self.everyone[act.who].attempt()
        self.store.on_the_way = self.store.on_the_way_back = None

    def pass_by(self, seconds: float) -> None:
        for _ in range(4):
            self.store.now_s += seconds / 4
            self.check()

    def check(self) -> None:
        assert sum(each.gate.is_open for each in self.everyone) <= 1


@given(ACTS)
def test_never_do_two_lead_at_a_time(acts: list[Act]) -> None:
    """Requests and answers take their time or get lost, candidates sleep, end and start again in any order."""
    asyncio.run(Play(acts).run())


async def test_whoever_waits_takes_a_lease_as_soon_as_its_release_is_seen(store: Store) -> None:
    """The next look of its own would come most of a second later."""
    first, second = candidate(store), candidate(store, "other")
    await first.attempt()
    running = asyncio.create_task(second.run())
    for _ in range(20):
        await asyncio.sleep(0)
    assert store.holder() == "me"
    await first.release()
    second.released.set()
    for _ in range(20):
        await asyncio.sleep(0)
    assert (store.holder(), second.gate.is_open) == ("other", True)
    running.cancel()
