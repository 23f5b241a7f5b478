"""What a closed loop measured, whichever program drove it. Pure."""

import dataclasses

GENERATOR_LIMIT = 0.95
MACHINE_LIMIT = 0.97


@dataclasses.dataclass(frozen=True)
class ClosedLoop:
    """One run. `generator_share` is what the client used of one CPU, `machine_share` what of all CPUs was busy."""

    requests: int
    seconds: float
    p50_seconds: float
    p99_seconds: float
    generator_share: float
    machine_share: float

    @property
    def per_second(self) -> float:
        return self.requests / self.seconds

    @property
    def caveat(self) -> str:
        if self.generator_share > GENERATOR_LIMIT:
            return "the client was the limit"
        if self.machine_share > MACHINE_LIMIT:
            return "all CPUs were busy, the client's share included"
        return ""
