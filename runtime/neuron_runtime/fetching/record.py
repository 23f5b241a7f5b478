"""The note that `fetch` leaves beside a bundle: where it came from, what it is, how long that took.

`destination` writes it, last of all, and compares by it; `serve` shows its seconds as a metric. A bundle that came
another way (a mount, an image) has none, and whatever is odd about a note counts as having none.
"""

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path

NAME = ".fetched.json"
MAX_BYTES = 4096


@dataclass(frozen=True)
class FetchRecord:
    """`seconds` from the start of the run that completed the bundle to its last rename, verifying included."""

    uri_sha256: str
    digest: str
    seconds: float

    def write(self, directory: Path) -> None:
        (directory / NAME).write_text(json.dumps(asdict(self)))


def read_record(directory: Path) -> FetchRecord | None:
    try:
        with (directory / NAME).open("rb") as file:
            told = json.loads(file.read(MAX_BYTES))
        record = FetchRecord(str(told["uri_sha256"]), str(told["digest"]), float(told["seconds"]))
    except (OSError, ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    return record if 0 <= record.seconds < math.inf else None
