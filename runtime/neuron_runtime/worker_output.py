"""What a worker and the native runtime in it print: our own log lines, of which the last explain how it ended.

`worker_process` connects it to the pipe that the process was started with. A process that the worker leaves behind may
hold that pipe open for ever, so nobody waits for its end for longer than a moment.
"""

import asyncio
import logging
from collections import deque

log = logging.getLogger("neuron_runtime.worker")

LINES_KEPT = 40
LONGEST_LINE = 1000
"""Bytes of a line that are kept; one that does not end is cut into pieces."""
LAST_LINES_SECONDS = 1.0


class WorkerOutput(asyncio.Protocol):
    def __init__(self) -> None:
        self._lines: deque[str] = deque(maxlen=LINES_KEPT)
        self._rest = b""
        self._transport: asyncio.BaseTransport | None = None
        self._is_over = asyncio.Event()
        self.pid: int | None = None

    @property
    def lines(self) -> tuple[str, ...]:
        """The last ones, oldest first."""
        return tuple(self._lines)

    async def read_rest(self) -> None:
        """Whatever the dead worker wrote, as far as it comes in time."""
        try:
            await asyncio.wait_for(self._is_over.wait(), LAST_LINES_SECONDS)
        except TimeoutError:
            log.warning("a process that the worker started holds its output open", extra={"workerPid": self.pid})

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        *lines, rest = (self._rest + data).split(b"\n")
        if len(rest) > LONGEST_LINE:
            lines, rest = [*lines, rest], b""
        self._rest = rest
        for line in lines:
            self._keep(line)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._rest:
            self._keep(self._rest)
        self._is_over.set()

    def _keep(self, line: bytes) -> None:
        text = line[:LONGEST_LINE].decode(errors="replace").rstrip()
        self._lines.append(text)
        log.info("worker output", extra={"workerPid": self.pid, "line": text})
