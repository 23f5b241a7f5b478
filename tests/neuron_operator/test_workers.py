"""The worker loop: when a key comes back, and that nothing stops the loop."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest
from prometheus_client import CollectorRegistry

from neuron_operator import errors
from neuron_operator.gate import Gate
from neuron_operator.indices import Key
from neuron_operator.metrics import Metrics
from neuron_operator.workers import work
from neuron_operator.workqueue import WorkQueue

KEY, OTHER = Key("shop", "sentiment"), Key("shop", "other")


@dataclass
class Bench:
    """One worker whose reconcile raises `failure` at the first look at KEY."""

    failure: Exception | None = None
    again_s: float | None = None
    looks: list[Key] = field(default_factory=list)
    queue: WorkQueue[Key] = field(default_factory=WorkQueue)
    gate: Gate = field(default_factory=Gate)
    looked: asyncio.Event = field(default_factory=asyncio.Event)

    async def reconcile(self, key: Key) -> float | None:
        self.looks.append(key)
        self.looked.set()
        if self.failure is not None and self.looks == [KEY]:
            raise self.failure
        return self.again_s if len(self.looks) == 1 else None

    async def run_until(self, holds: Callable[[], bool]) -> None:
        worker = asyncio.create_task(work(self.queue, self.gate, self.reconcile, Metrics(CollectorRegistry())))
        async with asyncio.timeout(60):
            while not holds():
                await self.looked.wait()
                self.looked.clear()
        worker.cancel()
        self.queue.close()


@pytest.mark.parametrize(
    "failure",
    [
        errors.UnreachableError("down"),
        errors.ConflictError("older"),
        errors.ThrottledError("busy", retry_after_s=0.01),
        errors.LeadershipLostError("lost"),
        ZeroDivisionError("a bug"),
    ],
    ids=lambda failure: type(failure).__name__,
)
async def test_a_key_that_failed_comes_back_and_others_are_not_held_up(failure: Exception) -> None:
    bench = Bench(failure)
    bench.gate.open()
    bench.queue.add(KEY)
    bench.queue.add(OTHER)
    await bench.run_until(lambda: bench.looks.count(KEY) == 2)
    assert OTHER in bench.looks


RETRIES = [
    pytest.param(
        errors.UnreachableError('no "route"'), "WARNING", r'reason=Unreachable message="no \"route\""', id="api"
    ),
    pytest.param(errors.ConflictError("older"), "DEBUG", 'reason=Conflict message="older"', id="conflict"),
    pytest.param(ZeroDivisionError("x"), "ERROR", "reason=Bug message=", id="bug"),
]


@pytest.mark.parametrize(("failure", "level", "said"), RETRIES)
async def test_a_retry_is_one_line_of_fields(
    failure: Exception, level: str, said: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG", logger="neuron_operator.workers")
    bench = Bench(failure)
    bench.gate.open()
    bench.queue.add(KEY)
    await bench.run_until(lambda: bench.looks.count(KEY) == 2)
    (line,) = caplog.records
    assert line.levelname == level
    assert line.getMessage().startswith("model=shop/sentiment action=retry after_s=0.")
    assert said in line.getMessage()


async def test_a_key_comes_back_when_the_reconcile_says_so() -> None:
    bench = Bench(again_s=0.01)
    bench.gate.open()
    bench.queue.add(KEY)
    await bench.run_until(lambda: bench.looks == [KEY, KEY])


async def test_no_key_is_taken_before_the_gate_opens() -> None:
    bench = Bench()
    bench.queue.add(KEY)
    worker = asyncio.create_task(bench.run_until(lambda: bool(bench.looks)))
    await asyncio.sleep(0.02)
    assert bench.queue.depth == 1
    bench.gate.open()
    await worker


async def test_a_throttled_key_waits_as_long_as_it_was_told() -> None:
    bench = Bench(errors.ThrottledError("busy", retry_after_s=0.2))
    bench.gate.open()
    bench.queue.add(KEY)
    started = asyncio.get_running_loop().time()
    await bench.run_until(lambda: bench.looks == [KEY, KEY])
    assert asyncio.get_running_loop().time() - started >= 0.2


async def test_a_conflict_is_looked_at_again_sooner_than_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    """The newer object is often known already, so that no event would wake the key."""
    caplog.set_level("DEBUG", logger="neuron_operator.workers")
    delays = {}
    for failure in (errors.ConflictError("older"), errors.UnreachableError("down")):
        bench = Bench(failure)
        bench.gate.open()
        bench.queue.add(KEY)
        await bench.run_until(lambda bench=bench: bench.looks.count(KEY) == 2)  # type: ignore[misc] # bound early
        delays[type(failure)] = float(caplog.records[-1].args[2])  # type: ignore[index,arg-type]
    assert delays[errors.ConflictError] <= 0.01 < 0.05 <= delays[errors.UnreachableError]
