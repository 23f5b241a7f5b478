"""uvicorn as this process uses it: a socket that is already bound, no signal handlers of its own, httptools and uvloop.

Signals belong to `serving`, because here the first SIGTERM must not close the listener: requests routed to this pod a
moment ago are still to be answered. Nor does its closing lose any: see `_empty_backlog`.
"""

import asyncio
import contextlib
import ctypes
import logging
import math
import resource
import select
import socket
import struct
from collections.abc import Iterator
from functools import partial
from typing import Any

import uvicorn

from neuron_runtime.connections import ConnectionLimits, Connections
from neuron_runtime.http_protocol import HttpProtocol
from neuron_runtime.metrics import Metrics
from neuron_runtime.routes import Routes
from neuron_runtime.settings import ServeSettings
from neuron_runtime.termination import FatalError, Reason

log = logging.getLogger("neuron_runtime.http_server")

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
GRACE_SECONDS = 5
OTHER_FILES = 256
"""File descriptors beside the clients' connections: workers, pipes, libraries."""
SWEEP_SECONDS = 1.0
DRAIN_SWEEP_SECONDS = 0.1
HANDSHAKE_SECONDS = 0.1
"""A round trip and more, for handshakes that had begun when the listener was told to take no others."""
SO_ATTACH_FILTER = 26
"""Of Linux; Python names it from 3.14 on."""


class HttpServer(uvicorn.Server):
    def __init__(self, config: uvicorn.Config, connections: Connections) -> None:
        super().__init__(config)
        self.connections = connections
        self._next_sweep: asyncio.TimerHandle | None = None

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._sweep()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, let requests that are on their way arrive, answer everything, return."""
        for listener in sockets or []:
            await _empty_backlog(listener)
        self.connections.drain()
        self._sweep()
        try:
            await super().shutdown(sockets)
        finally:
            assert self._next_sweep is not None, "set by each sweep"
            self._next_sweep.cancel()

    def _sweep(self) -> None:
        if self._next_sweep is not None:
            self._next_sweep.cancel()
        loop = asyncio.get_running_loop()
        # First, so that a sweep that fails is not the last one.
        seconds = DRAIN_SWEEP_SECONDS if self.connections.is_draining else SWEEP_SECONDS
        self._next_sweep = loop.call_later(seconds, self._sweep)
        self.connections.sweep(loop.time())


def make_server(routes: Routes, settings: ServeSettings, metrics: Metrics) -> HttpServer:
    limits = ConnectionLimits(
        open=_allow_open_files(settings.max_connections),
        head_seconds=settings.header_timeout_seconds,
        body_seconds=settings.body_timeout_seconds,
        idle_seconds=KEEP_ALIVE_SECONDS,
    )
    connections = Connections(limits, lambda cause: metrics.connections_ended.labels(cause).inc())
    metrics.connections.set_function(lambda: len(connections))
    protocol: Any = partial(HttpProtocol, connections)  # uvicorn calls it like a class
    answer_seconds = settings.header_timeout_seconds + settings.request_timeout_seconds
    config = uvicorn.Config(
        routes,
        http=protocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # nothing here asks where a request came from
        backlog=BACKLOG,
        # Requests end by their own deadlines; this is for a bug in us.
        timeout_graceful_shutdown=math.ceil(answer_seconds) + GRACE_SECONDS,
    )
    return HttpServer(config, connections)


def bind(settings: ServeSettings) -> socket.socket:
    """The listening socket; FatalError when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in settings.host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((settings.host, settings.port))
        # Now, not when uvicorn starts: who was told the port must not be refused.
        listener.listen(BACKLOG)
    except OSError as error:
        listener.close()
        raise FatalError(
            Reason.INVALID_CONFIGURATION,
            f"cannot listen on {settings.host}:{settings.port}: {error.strerror}",
            hint="choose a free port with --port",
        ) from error
    listener.settimeout(0)
    return listener


def _allow_open_files(connections: int) -> int:
    """As many connections as this process may have, up to `connections`; raises its limit of open files for them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return connections
    wanted = connections + OTHER_FILES
    allowed = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
    if allowed > soft:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    most = max(1, min(connections, max(allowed, soft) - OTHER_FILES))
    if most < connections:
        log.warning("fewer connections than set: open files are limited", extra={"connections": most, "files": hard})
    return most


async def _empty_backlog(listener: socket.socket) -> None:
    """Accept what the kernel has connected already: closing the listener would reset those clients, who may have sent
    their request. New ones are kept out meanwhile, or the last of them would always be lost."""
    keep_out_newcomers(listener)
    await asyncio.sleep(HANDSHAKE_SECONDS)
    waiting = select.poll()
    waiting.register(listener, select.POLLIN)
    for _ in range(2 * BACKLOG):
        if not waiting.poll(0):
            return
        await asyncio.sleep(0)  # uvloop accepts


def keep_out_newcomers(listener: socket.socket) -> None:
    """Have the kernel drop SYNs: their senders try again within a second and then find the port closed."""
    # A classic BPF program over the TCP header: load the flags (byte 13); with SYN drop, else take the whole packet.
    program = struct.pack(
        "HBBIHBBIHBBIHBBI",
        *(0x30, 0, 0, 13),
        *(0x45, 0, 1, 0x02),
        *(0x06, 0, 0, 0),
        *(0x06, 0, 0, 0xFFFFFFFF),
    )
    code = ctypes.create_string_buffer(program, len(program))
    try:
        listener.setsockopt(
            socket.SOL_SOCKET, SO_ATTACH_FILTER, struct.pack("HP", len(program) // 8, ctypes.addressof(code))
        )
    except OSError as error:
        log.debug("the kernel takes no filter", extra={"error": error.strerror})
