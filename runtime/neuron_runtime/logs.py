"""Structured logs: one JSON object a line on stderr. Called once, by each command's entry.

Call sites pass a constant message and facts as `extra`; payloads never. Lines of other libraries look the same.
"""

import contextlib
import logging
import os
import queue
import sys
import threading
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


MOST_LINES = 10_000
"""Lines that wait for a reader; then new ones are lost, and counted in a line of their own."""
LAST_LINES_SECONDS = 2.0


class WaitingLines(logging.Handler):
    """Writes from a thread of its own: a log that nobody reads fills its pipe, and then whoever writes there waits,
    which must not be the event loop with all its requests."""

    def __init__(self, file_descriptor: int, most_lines: int = MOST_LINES) -> None:
        super().__init__()
        self._file_descriptor = file_descriptor
        self._lines: queue.Queue[bytes | None] = queue.Queue(most_lines)
        self._lost = 0
        self._thread = threading.Thread(target=self._write_all, name="log", daemon=True)
        self._thread.start()

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._lines.put_nowait(f"{self.format(record)}\n".encode())
        except queue.Full:
            self._lost += 1
        except (TypeError, ValueError):
            self.handleError(record)

    def finish(self) -> None:
        """Let the last lines out, if somebody takes them."""
        with contextlib.suppress(queue.Full):
            self._lines.put(None, timeout=LAST_LINES_SECONDS)
            self._thread.join(LAST_LINES_SECONDS)

    def _write_all(self) -> None:
        while (line := self._lines.get()) is not None:
            self._write(line)
            if self._lost and self._lines.empty():
                self._tell_of_lost()

    def _tell_of_lost(self) -> None:
        self.acquire()  # as for `emit`
        lost, self._lost = self._lost, 0
        self.release()
        said = {"level": "warning", "logger": __name__, "message": "log lines were lost", "lines": lost}
        self._write(orjson.dumps(said) + b"\n")

    def _write(self, line: bytes) -> None:
        # Not through sys.stderr: this thread would hold its lock for ever, and Python could not end.
        with contextlib.suppress(OSError):
            while line:
                line = line[os.write(self._file_descriptor, line) :]


def set_up(level: str, handler: logging.Handler | None = None) -> None:
    """Send every logger's lines to stderr in this form: our own from `level` on, those of libraries from warning on.

    Libraries say per connection what we say per request, and some, at debug, what was in it.
    """
    handler = handler or logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter())
    ours = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(level=max(ours, logging.WARNING), handlers=[handler], force=True)
    logging.getLogger("neuron_runtime").setLevel(ours)


def finish() -> None:
    """Last of all: lines that nobody can take (a full disk, a closed pipe) must not become Python's exit code 120."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, WaitingLines):
            handler.finish()
    try:
        sys.stderr.flush()
    except OSError:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), sys.stderr.fileno())
