"""The canary: our own Lease is renewed every second or two, so a watch of it that stays silent has died unnoticed.

`handlers.Feed` tells it what the watch delivers, `health.py` asks it. Pure: `now` is an argument, on a monotonic clock.
"""

from dataclasses import dataclass


@dataclass
class Canary:
    """The newest version of the Lease that the watch has told, and when it last told anything."""

    version: int = 0
    heard_at: float | None = None

    def heard(self, version: int, now: float) -> None:
        """The watch told this version; 0 for the end of its list, which may be empty."""
        self.version, self.heard_at = max(self.version, version), now

    def silence_s(self, now: float) -> float:
        """Since when the watch has told nothing; 0 before its first list, which readiness waits for."""
        return 0.0 if self.heard_at is None else now - self.heard_at

    def has_missed(self, version: int) -> bool:
        """Whether the API server knows a renewal that the watch has not told."""
        return version > self.version
