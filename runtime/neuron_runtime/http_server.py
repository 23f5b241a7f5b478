"""uvicorn as this process uses it: a socket that is already bound, no signal handlers of its own, httptools and uvloop.

Signals belong to `serving`, because here the first SIGTERM must not close the listener: requests routed to this pod a
moment ago are still to be answered.
"""

import asyncio
import contextlib
import socket
from collections.abc import Iterator

import uvicorn

from neuron_runtime.http_protocol import HttpProtocol
from neuron_runtime.routes import Routes
from neuron_runtime.settings import ServeSettings
from neuron_runtime.termination import FatalError, Reason

BACKLOG = 2048
KEEP_ALIVE_SECONDS = 75
GRACE_SECONDS = 5
FIRST_REQUEST_SECONDS = 0.2
"""uvicorn closes a connection that has no request yet together with the listener, and its client sees a reset."""


class HttpServer(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Stop listening, then let connections accepted a moment ago send the request they were opened for."""
        for server in self.servers:
            server.close()
        for listener in sockets or []:
            listener.close()
        await asyncio.sleep(FIRST_REQUEST_SECONDS)
        await super().shutdown(sockets)


def make_server(routes: Routes, settings: ServeSettings) -> HttpServer:
    config = uvicorn.Config(
        routes,
        http=HttpProtocol,
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,  # nothing here asks where a request came from
        backlog=BACKLOG,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=int(settings.request_timeout_seconds) + GRACE_SECONDS,
    )
    return HttpServer(config)


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
