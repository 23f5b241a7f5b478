"""When the requests of an open loop are due: a Poisson process from a seed, the same each time. Pure; for `load`."""

import numpy as np

from neuron_runtime.benchmarking.measurement import FloatArray


def poisson_arrivals(rate_per_second: float, seconds: float, seed: int) -> FloatArray:
    """Ascending offsets in seconds, all below `seconds`; on average rate * seconds of them."""
    generator = np.random.default_rng(seed)
    expected = rate_per_second * seconds
    chunk = int(expected + 4 * expected**0.5) + 16
    offsets = np.cumsum(generator.exponential(1 / rate_per_second, chunk))
    while offsets[-1] < seconds:
        more = offsets[-1] + np.cumsum(generator.exponential(1 / rate_per_second, chunk))
        offsets = np.concatenate([offsets, more])
    return offsets[: int(np.searchsorted(offsets, seconds))]
