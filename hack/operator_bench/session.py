"""The runs of a scale, one after the other: the floor and the operator take turns, each on an API server of its own.

A figure that fails is told and left out; what the others found is kept all the same.
"""

import http.client
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.errors import BenchError
from bench.findings import Finding
from bench.runs import order_of_round
from cluster.progress import say, step
from local_control_plane.client import RefusedError
from operator_bench import machine, results, table
from operator_bench.figures import FIGURES, load
from operator_bench.floor import Floor, create_everything
from operator_bench.scale import Scale, Size
from operator_bench.story import Story, create_models
from operator_bench.world import bare_control_plane, world

FLOOR, APPLIED_FLOOR, OPERATOR = "floor", "applied floor", "operator"
# Of the only figure that needs all sides, hence taken when they are over.
CREATION = "creation"
FAILURES = (
    BenchError,
    RefusedError,
    AssertionError,
    OSError,
    http.client.HTTPException,
    psutil.Error,
    subprocess.SubprocessError,
)


def measure(scale: Scale, path: Path | None) -> bool:
    """Whether every figure could be taken. The table is printed at the end, also when it is broken off."""
    session = Session(scale.steady_seconds)
    kept = results.load(path) if path else None
    try:
        for size in scale.sizes:
            for run in range(size.runs):
                say(f"{size.models:,} models, run {run + 1} of {size.runs}")
                session.run(size, run)
                if path:
                    rows = results.gathered(session.found)
                    results.save(path, results.updated(kept, machine.description(), rows))
    finally:
        print(table.terminal(results.gathered(session.found)))
    return not session.failed


@dataclass
class Session:
    """The rows of all runs so far, and the figures that could not be taken."""

    steady_seconds: int
    found: list[Finding] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)

    def run(self, size: Size, number: int) -> None:
        wanted = [name for name in FIGURES if name in size.figures_of(number)]
        if not wanted:
            return
        story, floors = None, dict[str, Floor]()
        for side in order_of_round([FLOOR, APPLIED_FLOOR, OPERATOR] if CREATION in wanted else [OPERATOR], number):
            with self._told_if_it_fails(side):
                if side == OPERATOR:
                    story = self._operator_side(size.models, wanted)
                else:
                    floors[side] = floor_of(size.models, by_apply=side == APPLIED_FLOOR)
        if CREATION in wanted and story is not None:
            story.floor, story.applied_floor = floors.get(FLOOR), floors.get(APPLIED_FLOOR)
            self._take(CREATION, story)

    def _operator_side(self, models: int, wanted: list[str]) -> Story:
        with world(models) as made:
            story = Story(made, create_models(made, models), self.steady_seconds)
            for name in wanted:
                if name != CREATION:
                    with self._told_if_it_fails(name):
                        self._take(name, story)
            return story

    def _take(self, name: str, story: Story) -> None:
        for finding in load(name)(story):
            print(table.line(finding), flush=True)
            self.found.append(finding)

    @contextmanager
    def _told_if_it_fails(self, what: str) -> Iterator[None]:
        try:
            yield
        except FAILURES as error:
            print(f"operator_bench: {what}: {error}", file=sys.stderr, flush=True)
            self.failed.append(what)


def floor_of(models: int, *, by_apply: bool) -> Floor:
    how = " by server-side apply" if by_apply else ""
    with bare_control_plane(models) as (_, client), step(f"the floor of {models:,} models{how}"):
        return create_everything(client, models, by_apply=by_apply)
