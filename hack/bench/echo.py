"""Usage: python -m bench.echo [SERVICE_MS]. An ASGI application that does nothing, under uvicorn as the runtime has it.

It reads the body and sends it back: the cheapest any server of this stack could be. With SERVICE_MS it first makes one
call to a simulated core, itself and on the spot, which serves a single client as well as anything can.
"""

import socket
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import numpy as np
import uvicorn

from bench.device import SimulatedDevice, start_message
from neuron_runtime.engines.simulated import INPUT_VALUES, SimulatedEngine

Message = dict[str, Any]
Application = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]


async def application(
    scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
) -> None:
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def with_call(service_ms: float) -> Application:
    """The same application behind one call to a core of its own."""
    engine = SimulatedEngine(start_message(SimulatedDevice(1, 1, 1, service_ms)))
    row = np.ones((1, INPUT_VALUES), np.float32)

    async def calling(
        scope: Message, receive: Callable[[], Awaitable[Message]], send: Callable[[Message], Awaitable[None]]
    ) -> None:
        engine.run(0, [row])
        await application(scope, receive, send)

    return calling


def main() -> None:
    chosen = with_call(float(sys.argv[1])) if len(sys.argv) > 1 else application
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.listen(2048)
    print(f"echo listens on {listener.getsockname()[1]}", flush=True)
    config = uvicorn.Config(
        chosen,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="off",
        access_log=False,
        log_config=None,
        server_header=False,
        proxy_headers=False,
    )
    uvicorn.Server(config).run(sockets=[listener])


if __name__ == "__main__":
    main()
