"""What the operator asked of the API server, counted from the entries of the audit log. Pure."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from operator_bench.models import COLLECTIONS

READS, WATCH = ("get", "list"), "watch"
Entry = Mapping[str, Any]


@dataclass(frozen=True)
class Asked:
    """Requests by what they are; neither watches nor what keeps the Lease."""

    writes: int
    events: int
    reads: int
    conflicts: int
    by_kind: tuple[tuple[str, int], ...]

    @property
    def told(self) -> str:
        """The most frequent ones in words."""
        return ", ".join(f"{count:,} {what}" for what, count in self.by_kind)


def asked(entries: Iterable[Entry]) -> Asked:
    counted = [entry for entry in entries if entry["verb"] != WATCH and resource_of(entry) != "leases"]
    reads = [entry for entry in counted if entry["verb"] in READS]
    events = [entry for entry in counted if entry["verb"] not in READS and resource_of(entry) == "events"]
    conflicts = sum(entry["responseStatus"]["code"] == 409 for entry in counted)
    kinds = Counter(f"{entry['verb']} {resource_of(entry)}" for entry in counted)
    return Asked(
        len(counted) - len(reads) - len(events), len(events), len(reads), conflicts, tuple(kinds.most_common())
    )


def resource_of(entry: Entry) -> str:
    """With its subresource; the path of what is no resource."""
    reference = entry.get("objectRef")
    if reference is None or "resource" not in reference:
        return str(entry["requestURI"])
    return "/".join(filter(None, (reference["resource"], reference.get("subresource"))))


def last_creation(entries: Iterable[Entry]) -> datetime | None:
    """When the last child was there: a server-side apply that creates is answered with 201."""
    plurals = {path.rpartition("/")[2] for path in COLLECTIONS.values()}
    moments = [
        datetime.fromisoformat(entry["stageTimestamp"])
        for entry in entries
        if entry["responseStatus"]["code"] == 201 and resource_of(entry) in plurals
    ]
    return max(moments, default=None)
