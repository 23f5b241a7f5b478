"""How long and how often things are measured. Chosen on the command line; every figure reads it."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Scale:
    """Seconds are of one run. `runs` of the sides of a figure alternate; a figure is the median over them."""

    name: str
    runs: int
    seconds: int
    short_seconds: int
    """For the figures with very many runs: rows and the other servers."""
    warmup_seconds: int
    memory_requests: int
    every_row: bool
    peer_warmup_seconds: int = 3


SMOKE = Scale("smoke", runs=1, seconds=1, short_seconds=1, warmup_seconds=1, memory_requests=4_000, every_row=False)
BENCH = Scale("bench", runs=5, seconds=3, short_seconds=2, warmup_seconds=1, memory_requests=200_000, every_row=False)
FULL = Scale("full", runs=5, seconds=4, short_seconds=2, warmup_seconds=1, memory_requests=1_000_000, every_row=True)
