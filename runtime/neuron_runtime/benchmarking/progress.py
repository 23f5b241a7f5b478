"""A progress bar on a terminal's last line; nothing where standard error is no terminal. For `command`."""

import sys
import time

WIDTH = 24
_EIGHTHS = " ▏▎▍▌▋▊▉"
_CLEAR_LINE = "\r\x1b[K"
_REDRAW_SECONDS = 0.2


def drawn(fraction: float, width: int = WIDTH) -> str:
    """A bar of `width` columns, filled to `fraction` in steps of an eighth of a column."""
    eighths = round(min(max(fraction, 0.0), 1.0) * width * 8)
    full, part = divmod(eighths, 8)
    return ("█" * full + (_EIGHTHS[part] if part else "")).ljust(width)


class ProgressBar:
    """One for the whole command: `begin` each load, `update` from within it, `clear` before other output."""

    def __init__(self, total_seconds: float, *, is_wanted: bool) -> None:
        self._is_shown = is_wanted and sys.stderr.isatty()
        self._total_seconds = total_seconds
        self._seconds_before = 0.0
        self._label = ""
        self._drawn_at = 0.0

    def begin(self, label: str, seconds_before: float) -> None:
        self._label, self._seconds_before = label, seconds_before

    def update(self, seconds: float, answers: int) -> None:
        now = time.monotonic()
        if not self._is_shown or now - self._drawn_at < _REDRAW_SECONDS:
            return
        self._drawn_at = now
        gone = min(self._seconds_before + seconds, self._total_seconds)
        line = f"{drawn(gone / self._total_seconds)} {self._total_seconds - gone:4.0f} s left  {self._label}  "
        sys.stderr.write(f"{_CLEAR_LINE}{line}{answers:,} answers")
        sys.stderr.flush()

    def clear(self) -> None:
        if self._is_shown:
            sys.stderr.write(_CLEAR_LINE)
            sys.stderr.flush()
