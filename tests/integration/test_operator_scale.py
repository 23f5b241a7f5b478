"""Two hundred models at once on a real API server with controllers, a scheduler and kwok's nodes: what they cost.

Counts only; how long it takes is for the benchmark to say, because that depends on the machine.
"""

import logging
import time
from collections.abc import Iterator

import pytest

from local_control_plane.client import Body
from operator_bench.audit import asked
from operator_bench.models import MODELS, condition, names
from operator_bench.story import Created, create_models
from operator_bench.world import World, world

pytestmark = [pytest.mark.integration, pytest.mark.timeout(900)]

logger = logging.getLogger(__name__)

COUNT = 200
# Four children and two statuses; on a slow machine a few models tell of their progress in between.
MOST_WRITES = 6.1
# What the operator may take with five times as many models (docs/operator-benchmarks.md).
MOST_MIB = 130
# Longer than any pause of ours but the one between two lists: every retry and second look comes at least once.
LEFT_ALONE_S = 300.0
STARTED_TIMEOUT_S = 120.0


@pytest.fixture(scope="module")
def crowded() -> Iterator[World]:
    with world(COUNT) as made:
        yield made


@pytest.fixture(scope="module")
def created(crowded: World) -> Created:
    """All of them created at once, and the operator has nothing left to do."""
    found = create_models(crowded, COUNT)
    logger.info("%d models serve after %.1f s: %s", COUNT, found.served_seconds, found.asked.told)
    return found


@pytest.mark.usefixtures("created")
def test_every_model_says_that_it_serves(crowded: World) -> None:
    def summary(body: Body) -> tuple[str, str, str]:
        return body["metadata"]["name"], condition(body)["reason"], body["status"]["summary"]

    told = [summary(body) for body in crowded.client.request("GET", MODELS)["items"]]
    assert sorted(told) == sorted((name, "Serving", "1/1") for name in names(COUNT))


def test_a_model_costs_six_writes_three_events_and_no_read(created: Created) -> None:
    assert created.asked.reads == 0, created.asked.told
    assert created.asked.writes <= MOST_WRITES * COUNT, created.asked.told
    assert created.asked.events <= 3 * COUNT, created.asked.told


@pytest.mark.usefixtures("created")
def test_the_operator_stays_small(crowded: World) -> None:
    assert crowded.operator.rss_mib() <= MOST_MIB


@pytest.mark.usefixtures("created")
def test_settled_models_see_no_write_but_the_lease(crowded: World) -> None:
    crowded.wait_until_quiet()
    position = crowded.control_plane.audit_position()
    time.sleep(LEFT_ALONE_S)
    entries = list(crowded.control_plane.requests_by_operator(position))
    found = asked(entries)
    assert (found.writes, found.events) == (0, 0), found.told
    assert entries, "the Lease is renewed all the time"


@pytest.mark.usefixtures("created")
def test_a_restart_with_two_hundred_models_writes_nothing(crowded: World) -> None:
    crowded.wait_until_quiet()
    crowded.operator.stop()
    position = crowded.control_plane.audit_position()
    crowded.operator.start()
    crowded.wait_for_reconciles(COUNT, STARTED_TIMEOUT_S)
    crowded.wait_until_quiet()
    found = asked(crowded.control_plane.requests_by_operator(position))
    assert (found.writes, found.events) == (0, 0), found.told
