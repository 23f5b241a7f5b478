"""One module per figure, each with `measure(scale)` that returns its rows; imported when it is asked for."""

import importlib
from collections.abc import Callable

from bench.findings import Finding

FIGURES = {
    "headline": "share of the device's limit, resnet18, 64 clients",
    "latency": "what the server adds for a client alone",
    "cpu": "CPU per request, over an empty echo's",
    "rows": "share of the limit, AWS's published rows",
    "open-loop": "p99 under Poisson arrivals at 80 % of the limit",
    "overload": "three times what the device can take",
    "cores": "CPU per request with 24 cores, over that with 2",
    "memory": "growth of the front process",
    "preparation": "tokenization and image decoding",
    "tiny-model": "requests per second where the model is free",
    "peers": "the other servers around the same device",
}


def load(name: str) -> Callable[..., list[Finding]]:
    """The figure's `measure`; that of `rows` takes findings to keep, too."""
    module = importlib.import_module(f"bench.figures.{name.replace('-', '_')}")
    measure: Callable[..., list[Finding]] = module.measure
    return measure
