"""The same thing for many objects from eight threads at once: what a busy client of the API server does."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

THREADS = 8
Item = TypeVar("Item")
Made = TypeVar("Made")


def for_each(items: Iterable[Item], do: Callable[[Item], Made]) -> list[Made]:
    """What it returned for each, in their order; the first failure is raised."""
    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(do, items))
