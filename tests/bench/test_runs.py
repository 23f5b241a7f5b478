"""The order in which the sides of a figure take turns."""

from bench.runs import interleaved, order_of_round


def test_sides_alternate_and_nobody_always_runs_first() -> None:
    order: list[str] = []

    found = interleaved("figure", 3, {"limit": lambda: order.append("limit"), "server": lambda: order.append("server")})

    assert order == ["limit", "server", "server", "limit", "limit", "server"]
    assert {name: len(values) for name, values in found.items()} == {"limit": 3, "server": 3}


def test_every_second_round_goes_backwards() -> None:
    assert [order_of_round(["a", "b"], number) for number in (0, 1)] == [["a", "b"], ["b", "a"]]
