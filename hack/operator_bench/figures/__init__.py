"""One module per figure, each with `measure(story)` that returns the rows of one run; imported when it is asked for.

In the order in which they are taken: what leaves the API server changed comes last.
"""

import importlib
from collections.abc import Callable

from bench.findings import Finding
from operator_bench.story import Story

FIGURES = {
    "creation": "models created at once, until the last child exists",
    "cpu": "CPU of the operator for one model, from its creation until it serves",
    "requests": "requests of the operator for one model, from its creation until it serves",
    "memory": "resident memory of the operator",
    "steady": "settled models, left alone",
    "restart": "the operator starts again with settled models",
    "repair": "a child is deleted or an owned field is changed, until it is restored",
    "unready": "a pod turns unready, until the model says so",
    "arrivals": "the same while as many new models arrive",
    "leader": "the leader ends, until the other replica acts",
}


def load(name: str) -> Callable[[Story], list[Finding]]:
    """The figure's `measure`."""
    measure: Callable[[Story], list[Finding]] = importlib.import_module(f"operator_bench.figures.{name}").measure
    return measure
