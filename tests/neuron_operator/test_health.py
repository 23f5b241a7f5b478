"""What the probes answer: a restart only where it could help, ready only with the whole cluster in view."""

import asyncio

import pytest

from neuron_operator import errors
from neuron_operator.canary import Canary
from neuron_operator.health import Health


def health(
    stuck_s: float = 0,
    *,
    answers: bool = True,
    unsynced: tuple[str, ...] = (),
    silence_s: float | None = 0,
    told: int = 7,
    renewed: int = 8,
) -> Health:
    async def api_answers() -> bool:
        if not answers:
            raise errors.UnreachableError("down")
        return True

    async def newest_renewal() -> int:
        await api_answers()
        return renewed

    now = asyncio.get_running_loop().time()
    canary = Canary(told, None if silence_s is None else now - silence_s)
    return Health(lambda: stuck_s, api_answers, lambda: unsynced, canary, newest_renewal)


@pytest.mark.parametrize(
    ("age_s", "answers", "alive", "ready"),
    [
        pytest.param(0, True, True, True, id="well"),
        pytest.param(119, True, True, True, id="slow"),
        pytest.param(121, True, False, True, id="stuck"),
        pytest.param(500, False, True, False, id="api-server-gone"),
        pytest.param(0, False, True, False, id="idle-and-api-server-gone"),
    ],
)
async def test_liveness_fails_only_when_a_restart_could_help(
    age_s: float, answers: bool, alive: bool, ready: bool
) -> None:
    probed = health(age_s, answers=answers)
    assert (await probed.liveness() is None, await probed.readiness() is None) == (alive, ready)


@pytest.mark.parametrize(
    ("silence_s", "told", "renewed", "answers", "alive"),
    [
        pytest.param(1, 7, 7, True, True, id="renewals-are-told"),
        pytest.param(179, 7, 99, True, True, id="not-silent-for-long"),
        pytest.param(181, 7, 99, True, False, id="deaf"),
        pytest.param(181, 0, 99, True, False, id="deaf-since-an-empty-list"),
        pytest.param(9999, 7, 7, True, True, id="nobody-renews"),
        pytest.param(9999, 7, 0, True, True, id="the-lease-is-gone"),
        pytest.param(9999, 0, 0, True, True, id="there-never-was-a-lease"),
        pytest.param(9999, 7, 99, False, True, id="api-server-gone"),
        pytest.param(None, 0, 99, True, True, id="the-first-list-has-not-come"),
    ],
)
async def test_a_watch_that_misses_our_own_renewals_fails_liveness(
    silence_s: float | None, told: int, renewed: int, answers: bool, alive: bool
) -> None:
    problem = await health(silence_s=silence_s, told=told, renewed=renewed, answers=answers).liveness()
    assert (problem is None) == alive
    assert problem is None or "the watch of our Lease is silent for 181 s" in problem


async def test_a_process_that_waits_for_a_first_list_is_not_ready_and_says_for_which() -> None:
    problem = await health(unsynced=("Node", "Pod")).readiness()
    assert problem == "the watches have not delivered their first lists yet: Node, Pod"


def test_the_canary_keeps_the_newest_renewal_whatever_comes_late() -> None:
    canary = Canary()
    assert canary.silence_s(50.0) == 0
    canary.heard(0, 100.0)
    canary.heard(9, 101.0)
    canary.heard(8, 102.0)
    assert not canary.has_missed(9)
    assert canary.has_missed(10)
    assert canary.silence_s(105.0) == 3
