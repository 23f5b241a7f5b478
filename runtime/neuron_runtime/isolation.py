"""What becomes of requests whose worker was lost while it computed them. Pure.

One of them may be what killed it, and nobody can say which. So each is a suspect and runs again alone, one suspect at a
time in the whole process, on a worker that holds nothing else. As long as there is hope of a second worker, suspects
wait for it: the one that takes them may be lost too, and somebody must go on serving.

ready workers   others coming back   then a suspect
2 or more       -                    runs, and the other workers take none
1               none                 runs
1               yes                  waits for half of its time, then runs
0               -                    waits
"""

from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import blake2b

from neuron_runtime.tensors import Array

MOST_CRASHES = 2
"""A request that took two workers down is not given a third."""
MOST_REFUSED = 1024


@dataclass(frozen=True)
class Fleet:
    """`usable` counts the workers that are ready or will be: those whose core is not given up."""

    ready: int
    usable: int

    def may_run_suspect(self, now: float, patience_ends: float) -> bool:
        if self.ready >= 2:
            return True
        return self.ready == 1 and (self.usable <= 1 or now >= patience_ends)


def fingerprint(inputs: Iterable[Array]) -> bytes:
    """16 bytes that stand for these tensors' datatypes, shapes and values."""
    digest = blake2b(digest_size=16)
    for array in inputs:
        digest.update(f"{array.dtype.str}{array.shape}".encode())
        digest.update(array.tobytes())
    return digest.digest()


class RefusedPayloads:
    """Payloads that took two workers down, refused for a while. Times are seconds on any one clock."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._until: dict[bytes, float] = {}

    def __len__(self) -> int:
        return len(self._until)

    def add(self, payload: bytes, now: float) -> None:
        if self.seconds <= 0:
            return
        self._until[payload] = now + self.seconds
        while len(self._until) > MOST_REFUSED:
            del self._until[next(iter(self._until))]

    def seconds_left(self, payload: bytes, now: float) -> float:
        """0 when the payload is not, or no longer, refused."""
        for old in [key for key, until in self._until.items() if until <= now]:
            del self._until[old]
        return max(0.0, self._until.get(payload, now) - now)
