"""One run: so many models created at once on an API server of their own, and what it took until all of them served.

Figures read what is noted here, or go on with the world as it is then.
"""

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from bench.errors import BenchError
from bench.process_tree import StolenShare
from cluster.progress import step
from operator_bench.audit import Asked, asked, last_creation
from operator_bench.floor import Floor
from operator_bench.many import for_each
from operator_bench.models import MODELS, model, names
from operator_bench.world import World

IDLE_S = 5.0
SERVED_TIMEOUT_S = 3600.0
MIB = 2**20


@dataclass(frozen=True)
class Created:
    """`cpu_seconds` is the operator's until it had nothing left to do, less what it uses for doing nothing;
    `stolen_share` is what the hypervisor took of all CPUs until the last model served."""

    models: int
    children_seconds: float
    served_seconds: float
    cpu_seconds: float
    stolen_share: float
    looks: float
    asked: Asked
    idle_mib: float
    settled_mib: float


@dataclass
class Story:
    """What the figures of one run are taken of. A floor that was not measured is None."""

    world: World
    created: Created
    steady_seconds: int
    floor: Floor | None = None
    applied_floor: Floor | None = None

    @property
    def models(self) -> int:
        return self.created.models


def create_models(world: World, count: int) -> Created:
    """From the first request until nothing happens any more."""
    idle_share = _idle_share(world)
    idle_mib, cpu_before, looks_before = world.operator.rss_mib(), world.cpu_seconds(), world.looks()
    position, wanted = world.control_plane.audit_position(), names(count)
    with step(f"{count:,} models created at once, until they serve"):
        stolen_share = StolenShare()
        began, began_at = time.monotonic(), datetime.now(UTC)
        for_each(wanted, lambda name: world.client.request("POST", MODELS, model(name)))
        served = world.models.wait_for_all(set(wanted), SERVED_TIMEOUT_S)
        stolen = stolen_share.until_now()
    with step("until the operator has nothing left to do"):
        world.wait_until_quiet()
    cpu = world.cpu_seconds() - cpu_before - idle_share * (time.monotonic() - began)
    entries: list[dict[str, Any]] = list(world.control_plane.requests_by_operator(position))
    children_at = last_creation(entries)
    if children_at is None:
        raise BenchError("the audit log shows no child that was created")
    return Created(
        models=count,
        children_seconds=(children_at - began_at).total_seconds(),
        served_seconds=served - began,
        cpu_seconds=cpu,
        stolen_share=stolen,
        looks=world.looks() - looks_before,
        asked=asked(entries),
        idle_mib=idle_mib,
        settled_mib=world.operator.rss_mib(),
    )


def _idle_share(world: World) -> float:
    before, began = world.cpu_seconds(), time.monotonic()
    time.sleep(IDLE_S)
    return (world.cpu_seconds() - before) / (time.monotonic() - began)
