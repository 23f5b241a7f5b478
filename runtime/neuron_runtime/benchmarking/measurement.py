"""What one load against one server measured: percentiles, errors, objectives, and whether the generator was the limit.

Pure. `load` records Samples and turns them into a Measurement; `report` and `command` read it. A request belongs to a
measurement when it was due within the window, however late its answer came, so that a stalled server cannot hide the
requests it made late; throughput counts the answers that arrived within the window.
"""

import math
import re
from array import array
from collections import Counter
from dataclasses import dataclass, field
from typing import Literal, Self

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]

Load = tuple[Literal["closed", "open"], float]
"""A kind of loop, and its number of clients or of requests a second."""

MOST_CPU_SHARE = 0.9
MOST_LAG_SECONDS = 0.001
MOST_LAG_OF_LATENCY = 0.05
_UNITS = {"s": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6}
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*(s|ms|us|µs)")


@dataclass(frozen=True)
class Window:
    """From when to when is measured, in seconds of one clock."""

    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass
class Samples:
    """Parallel arrays, moments on one clock: `due`, `done` and `codes` of every answered request; `launched` (when it
    was due) and `lag` (how much later it was done) of what the generator did by the clock. `failures` holds the due
    time and kind of what was never answered, `connection_waits` the due times of what found no connection free."""

    due: "array[float]" = field(default_factory=lambda: array("d"))
    done: "array[float]" = field(default_factory=lambda: array("d"))
    codes: "array[int]" = field(default_factory=lambda: array("h"))
    launched: "array[float]" = field(default_factory=lambda: array("d"))
    lag: "array[float]" = field(default_factory=lambda: array("d"))
    failures: list[tuple[float, str]] = field(default_factory=list)
    connection_waits: "array[float]" = field(default_factory=lambda: array("d"))


@dataclass(frozen=True)
class Verdict:
    """Whether the generator, not the server, set the numbers; `reason` says by what."""

    reason: str
    generator_was_the_limit: bool


@dataclass(frozen=True)
class Measurement:
    """`clients_or_rate` is a number of clients (kind closed) or of requests a second (open). `answered` counts the 2xx
    answers that arrived within the window, `completed` all answers that did; `codes`, `failures` and the latencies (in
    ascending order) belong to the requests that were due within it. `generator_cpu_share` is of one CPU."""

    kind: Literal["closed", "open"]
    clients_or_rate: float
    seconds: float
    answered: int
    completed: int
    codes: dict[int, int]
    failures: dict[str, int]
    latencies_seconds: FloatArray
    refusal_latencies_seconds: FloatArray
    lag_p99_seconds: float
    generator_cpu_share: float
    connection_waits: int = 0

    @property
    def failed(self) -> int:
        """Requests without any answer: connection refused or lost, timeout, malformed answer."""
        return sum(self.failures.values())

    @property
    def refused(self) -> int:
        return len(self.refusal_latencies_seconds)

    @property
    def answered_per_second(self) -> float:
        return self.answered / self.seconds

    @property
    def error_ratio(self) -> float:
        """Of all requests that were due, the part without a 2xx answer; 1 when there was no request."""
        total = len(self.latencies_seconds) + self.refused + self.failed
        return 1 - len(self.latencies_seconds) / total if total else 1.0

    @property
    def ceiling_per_second(self) -> float:
        """Requests a second before the generator's CPU share becomes the limit, at what each cost here; 0 unknown."""
        if not self.completed or not self.generator_cpu_share:
            return 0.0
        return self.completed / self.seconds * MOST_CPU_SHARE / self.generator_cpu_share

    def percentile(self, percent: float) -> float:
        """Seconds within which `percent` of the 2xx answers came; nan when there are none."""
        return nearest_rank(self.latencies_seconds, percent)

    def refusal_percentile(self, percent: float) -> float:
        return nearest_rank(self.refusal_latencies_seconds, percent)

    @property
    def _most_lag_seconds(self) -> float:
        """A closed loop only waits: there a lag matters beside its latencies."""
        if self.kind == "open" or not len(self.latencies_seconds):
            return MOST_LAG_SECONDS
        return max(MOST_LAG_SECONDS, MOST_LAG_OF_LATENCY * self.percentile(99))

    @property
    def verdict(self) -> Verdict:
        if self.generator_cpu_share >= MOST_CPU_SHARE:
            return Verdict(f"the generator used {self.generator_cpu_share:.0%} of a CPU", generator_was_the_limit=True)
        if self.lag_p99_seconds > self._most_lag_seconds:
            late = f"{self.lag_p99_seconds * 1e3:.1f} ms late at p99"
            return Verdict(f"the generator was {late}", generator_was_the_limit=True)
        return Verdict("the generator kept up", generator_was_the_limit=False)


def nearest_rank(values: FloatArray, percent: float) -> float:
    """The smallest value that `percent` of `values` do not exceed: always one that was measured; nan of nothing."""
    if not len(values):
        return math.nan
    # 99.9 % of 1000 is 999, not the next above 999.0000000001 that floating point makes of it.
    rank = max(1, math.ceil(round(len(values) * percent / 100, 6)))
    return float(np.partition(values, rank - 1)[rank - 1])


def summarize(samples: Samples, window: Window, load: Load, cpu_share: float) -> Measurement:
    """What `samples` say about the requests that were due within `window`."""
    due, done, launched, lag = map(np.array, (samples.due, samples.done, samples.launched, samples.lag))
    codes = np.array(samples.codes, dtype=np.int16)
    belongs = (due >= window.start) & (due < window.end)
    arrived = (done >= window.start) & (done < window.end)
    succeeded = (codes >= 200) & (codes < 300)
    latencies = done - due
    lags = lag[(launched >= window.start) & (launched < window.end)]
    lag_p99 = nearest_rank(lags, 99) if len(lags) else 0.0
    counted = Counter(kind for moment, kind in samples.failures if window.start <= moment < window.end)
    return Measurement(
        kind=load[0],
        clients_or_rate=load[1],
        seconds=window.seconds,
        answered=int(np.count_nonzero(arrived & succeeded)),
        completed=int(np.count_nonzero(arrived)),
        codes={
            int(code): int(count) for code, count in zip(*np.unique(codes[belongs], return_counts=True), strict=True)
        },
        failures=dict(counted),
        latencies_seconds=np.sort(latencies[belongs & succeeded]),
        refusal_latencies_seconds=np.sort(latencies[belongs & ~succeeded]),
        lag_p99_seconds=lag_p99,
        generator_cpu_share=cpu_share,
        connection_waits=sum(window.start <= moment < window.end for moment in samples.connection_waits),
    )


@dataclass(frozen=True)
class Objective:
    """`percent` of the answers come within `seconds`."""

    percent: float
    seconds: float

    @classmethod
    def parse(cls, text: str, percent: float = 99.0) -> Self:
        """From a duration with its unit, such as 20ms, 1.5s or 800us; ValueError says so."""
        match = _DURATION.fullmatch(text.strip())
        if match is None or float(match[1]) == 0:
            raise ValueError(f"{text!r} is no duration; write a number and its unit, such as 20ms, 1.5s or 800us")
        return cls(percent, float(match[1]) * _UNITS[match[2]])

    @property
    def name(self) -> str:
        return f"p{self.percent:g}"

    def is_met(self, measurement: Measurement) -> bool:
        """False when nothing was answered."""
        return measurement.percentile(self.percent) <= self.seconds
