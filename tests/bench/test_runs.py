"""The order in which the sides of a figure take turns, and what becomes of runs whose CPUs were taken away."""

from collections.abc import Callable, Sequence

import pytest

from bench.findings import Finding, Target, voided
from bench.runs import interleaved, order_of_round

AWAY = 1e9


def hypervisor(disturbs: Sequence[bool]) -> Callable[[], float]:
    """Has taken, when asked before and after each round, nothing in between or very much."""
    taken, asked = [0.0], list(disturbs)

    def stolen_seconds() -> float:
        is_end = len(taken) % 2 == 0
        taken.append(taken[-1] + (AWAY if is_end and asked.pop(0) else 0.0))
        return taken[-1]

    return stolen_seconds


def test_sides_alternate_and_nobody_always_runs_first() -> None:
    order: list[str] = []
    sides = {"limit": lambda: order.append("limit"), "server": lambda: order.append("server")}

    found = interleaved("figure", 3, sides, hypervisor([False] * 3))

    assert order == ["limit", "server", "server", "limit", "limit", "server"]
    assert {name: len(values) for name, values in found.items()} == {"limit": 3, "server": 3}
    assert found.void == ""


@pytest.mark.parametrize(
    ("disturbs", "good", "is_void"),
    [
        pytest.param([True, False, False, False], [1, 2, 3], False, id="taken-again"),
        pytest.param([False, True, True, False, True, True], [0, 3], False, id="more-than-half-are-good"),
        pytest.param([True, True, True, True, True, False], [5], True, id="hardly-any-is-good"),
        pytest.param([True] * 6, [], True, id="none-is-good"),
    ],
)
def test_a_round_whose_cpus_were_taken_away_is_taken_again_as_often_as_there_are_runs(
    disturbs: list[bool], good: list[int], is_void: bool
) -> None:
    numbers = iter(range(10))

    found = interleaved("figure", 3, {"server": lambda: next(numbers)}, hypervisor(disturbs))

    assert found["server"][: len(good)] == good
    assert (len(found["server"]), bool(found.void)) == (3 if is_void else len(good), is_void)


def test_a_void_row_says_so_and_not_whether_its_target_is_met() -> None:
    rows = [
        Finding("figure", "share", "share", (1.0,), Target("at least", 0.97)),
        Finding("figure", "lag", "ms", (1.0,), void="late"),
    ]

    assert [row.verdict for row in voided(rows, "")] == ["met", "void"]
    assert [(row.verdict, row.void) for row in voided(rows, "taken")] == [("void", "taken"), ("void", "late")]


def test_every_second_round_goes_backwards() -> None:
    assert [order_of_round(["a", "b"], number) for number in (0, 1)] == [["a", "b"], ["b", "a"]]
