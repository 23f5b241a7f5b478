"""Interleaved runs: A B, B A, A B, … so that a machine that gets slower gets slower for everyone."""

from collections.abc import Callable, Mapping
from typing import TypeVar

from cluster.progress import step

T = TypeVar("T")


def interleaved(title: str, runs: int, sides: Mapping[str, Callable[[], T]]) -> dict[str, list[T]]:
    """What every side returned in each round, in the order of the rounds."""
    found: dict[str, list[T]] = {name: [] for name in sides}
    for number in range(runs):
        with step(f"{title}, run {number + 1} of {runs}: {', '.join(sides)}"):
            for name in order_of_round(list(sides), number):
                found[name].append(sides[name]())
    return found


def order_of_round(names: list[str], number: int) -> list[str]:
    """Every second round goes backwards, so that nobody always runs first."""
    return names if number % 2 == 0 else names[::-1]
