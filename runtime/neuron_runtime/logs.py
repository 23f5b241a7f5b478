"""Structured logs: one JSON object a line on stderr. Called once, by each command's entry.

Call sites pass a constant message and facts as `extra`; payloads never. Lines of other libraries look the same.
"""

import logging
import os
import sys
from datetime import UTC, datetime
from pathlib import Path

import orjson

_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "color_message", "taskName"}


class JsonFormatter(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line.update((key, value) for key, value in vars(record).items() if key not in _STANDARD)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return orjson.dumps(line, default=str).decode()


def set_up(level: str) -> None:
    """Send every logger's lines to stderr in this form: our own from `level` on, those of libraries from warning on.

    Libraries say per connection what we say per request, and some, at debug, what was in it.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    ours = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(ours, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger("neuron_runtime").setLevel(ours)


def finish() -> None:
    """Last of all: lines that nobody can take (a full disk, a closed pipe) must not become Python's exit code 120."""
    try:
        sys.stderr.flush()
    except OSError:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stderr.fileno())
