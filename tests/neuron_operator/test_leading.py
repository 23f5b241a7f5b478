"""How the process leads and ends: the lease goes back when nothing writes any more, before the slow rest ends."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import pytest

from model_builders import settings
from neuron_operator.cluster import Ref
from neuron_operator.elector import Alone, Elector
from neuron_operator.gate import Gate
from neuron_operator.indices import Key
from neuron_operator.process import Parts, _candidate, _oldest_age_s, _until
from neuron_operator.workqueue import WorkQueue

Body = dict[str, Any]


@dataclass
class Ending:
    """Tasks that tell when they end; `fails` names the one that ends by itself."""

    fails: str = ""
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    told: list[str] = field(default_factory=list)

    def task(self, name: str) -> asyncio.Task[None]:
        async def run() -> None:
            try:
                if self.fails == name:
                    raise ZeroDivisionError(name)
                await asyncio.Event().wait()
            finally:
                self.told.append(name)

        return asyncio.create_task(run(), name=name)

    def parts(self) -> Parts:
        return Parts(self.task("watching"), self.task("leading"), [self.task("worker"), self.task("worker")])

    async def release(self) -> None:
        self.told.append("released")


async def test_the_lease_is_released_after_the_last_write_and_before_the_watches_end() -> None:
    ending = Ending()
    running = asyncio.create_task(_until(ending.stop, ending.parts(), ending.release))
    await asyncio.sleep(0)
    ending.stop.set()
    async with asyncio.timeout(60):
        await running
    assert sorted(ending.told[:3]) == ["leading", "worker", "worker"]
    assert ending.told[3:] == ["released", "watching"]


@pytest.mark.parametrize("fails", ["watching", "leading"])
async def test_a_part_that_fails_ends_the_process_which_leads_no_more(fails: str) -> None:
    ending = Ending(fails)
    with pytest.raises(ZeroDivisionError, match=fails):
        await _until(ending.stop, ending.parts(), ending.release)
    assert ending.told.index("released") > ending.told.index("worker")
    assert sorted(ending.told) == ["leading", "released", "watching", "worker", "worker"]


class NoLeases:
    """Nobody asks them here."""

    async def get(self, ref: Ref) -> Body:
        raise NotImplementedError

    async def create(self, body: Body) -> Body:
        raise NotImplementedError

    async def replace(self, body: Body) -> Body:
        raise NotImplementedError


def test_a_container_that_starts_again_in_the_same_pod_is_another_holder() -> None:
    configured = settings(lease_namespace="system")
    one, other = (_candidate(configured, NoLeases(), Gate(), "operator-x", asyncio.Event()) for _ in range(2))
    assert isinstance(one, Elector)
    assert isinstance(other, Elector)
    assert one.namespace == "system"
    assert one.identity != other.identity
    assert one.identity.startswith("operator-x-")


def test_without_election_nobody_is_asked() -> None:
    alone = _candidate(settings(leader_election=False), NoLeases(), Gate(), "operator-x", asyncio.Event())
    assert isinstance(alone, Alone)


async def test_the_keys_of_a_standby_do_not_grow_old() -> None:
    """Or the kubelet would replace it: liveness takes an old key for a stuck worker."""
    now_s = 100.0
    queue, gate = WorkQueue[Key](), Gate(lambda: now_s)
    queue.add(Key("shop", "sentiment"))
    await asyncio.sleep(0.01)
    assert queue.oldest_age_s() > 0
    assert _oldest_age_s(queue, gate) == 0
    gate.open()
    now_s += 60.0
    assert 0 < _oldest_age_s(queue, gate) < 60.0
