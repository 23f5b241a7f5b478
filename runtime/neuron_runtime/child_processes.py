"""Ends a child of the event loop without losing its exit code. For everything here that starts a program.

`asyncio.subprocess.Process.kill` of Python 3.11 polls the child first (cpython#127049). When it has just ended, that
takes the exit code away from the loop's own watcher, which then reports 255.
"""

import asyncio
import contextlib
import os
import signal


def kill(process: asyncio.subprocess.Process) -> None:
    """SIGKILL unless it is known to have ended; the caller still waits for it."""
    if process.returncode is None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGKILL)
