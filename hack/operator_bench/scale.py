"""How many models, how often, and which figures are taken of them. Pure."""

import dataclasses
from collections.abc import Collection, Sequence

EVERY_RUN = ("creation", "cpu", "requests", "memory", "restart")


@dataclasses.dataclass(frozen=True)
class Size:
    """`runs` times as many models on an API server of their own; the figures `once` only in the last run, because
    they take long or leave the API server changed."""

    models: int
    runs: int
    figures: tuple[str, ...]
    once: tuple[str, ...] = ()

    def figures_of(self, run: int) -> tuple[str, ...]:
        """Those of that run, counted from zero, in the order in which they are taken."""
        return (*self.figures, *(self.once if run == self.runs - 1 else ()))


@dataclasses.dataclass(frozen=True)
class Scale:
    name: str
    sizes: tuple[Size, ...]
    steady_seconds: int

    def only(self, named: Collection[str]) -> "Scale":
        """With those figures alone, if any are named; a size that is left with none is not run."""
        if not named:
            return self
        sizes = [
            dataclasses.replace(
                size,
                figures=tuple(figure for figure in size.figures if figure in named),
                once=tuple(figure for figure in size.once if figure in named),
            )
            for size in self.sizes
        ]
        return dataclasses.replace(self, sizes=tuple(size for size in sizes if size.figures or size.once))


BENCH = Scale(
    "bench",
    (
        Size(200, 5, (*EVERY_RUN, "leader"), once=("repair",)),
        Size(1000, 3, (*EVERY_RUN, "unready"), once=("steady", "arrivals")),
    ),
    steady_seconds=60,
)
FULL = Scale(
    "full",
    (
        Size(1000, 5, (*EVERY_RUN, "unready", "leader"), once=("repair", "arrivals")),
        Size(5000, 1, ("cpu", "requests", "memory", "restart", "steady")),
    ),
    steady_seconds=600,
)


def chosen_by_hand(models: Sequence[int], runs: int, steady_seconds: int = 30) -> Scale:
    """Every figure for each number of models: for trying things out."""
    figures = (*EVERY_RUN, "steady", "repair", "unready", "leader")
    sizes = tuple(Size(count, runs, figures, once=("arrivals",)) for count in models)
    return Scale("by hand", sizes, steady_seconds)
