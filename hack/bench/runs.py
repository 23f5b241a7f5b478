"""Interleaved runs: A B, B A, A B, … so that a machine that gets slower gets slower for everyone.

On a virtual machine the hypervisor may give the CPUs to others in the middle of a run, whose number is then theirs as
much as ours: such a run is taken again, and where that does not help, the rows say that they are void.
"""

from collections.abc import Callable, Mapping
from typing import Final, TypeVar

from bench.process_tree import StolenShare, stolen_seconds
from cluster.progress import say, step

T = TypeVar("T")

MOST_STOLEN: Final = 0.03
"""Of the time of all CPUs; quiet hours have 0.01 to 0.02."""


class Rounds(dict[str, list[T]]):
    """What every side returned in each round, in the order of the rounds. `void` says why they are no result."""

    void: str = ""


def interleaved(
    title: str,
    runs: int,
    sides: Mapping[str, Callable[[], T]],
    stolen: Callable[[], float] = stolen_seconds,
) -> Rounds[T]:
    """`runs` undisturbed rounds of twice as many at most; with fewer than half of them, the least disturbed as well."""
    good: list[dict[str, T]] = []
    disturbed: list[tuple[float, dict[str, T]]] = []
    while len(good) < runs and len(good) + len(disturbed) < 2 * runs:
        stolen_share = StolenShare(stolen)
        with step(f"{title}, run {len(good) + 1} of {runs}: {', '.join(sides)}"):
            found = {name: sides[name]() for name in order_of_round(list(sides), len(good) + len(disturbed))}
        if (share := stolen_share.until_now()) > MOST_STOLEN:
            say(f"{title}: the hypervisor took {share:.0%} of the CPUs")
            disturbed.append((share, found))
        else:
            good.append(found)
    disturbed.sort(key=lambda one: one[0])
    is_void = 2 * len(good) < runs
    kept = [*good, *(found for _, found in disturbed[: runs - len(good)])] if is_void else good
    rounds = Rounds[T]({name: [found[name] for found in kept] for name in sides})
    if is_void:
        rounds.void = f"the hypervisor took {disturbed[0][0]:.0%} of the CPUs or more in {len(disturbed)} runs"
    return rounds


def order_of_round(names: list[str], number: int) -> list[str]:
    """Every second round goes backwards, so that nobody always runs first."""
    return names if number % 2 == 0 else names[::-1]
