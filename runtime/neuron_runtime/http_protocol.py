"""One client's connection: uvicorn's HTTP protocol with what uvicorn has none of. uvicorn makes one per connection.

The request path finds it in its scope, to learn at no cost that the client has gone. It reaches into uvicorn's own
state (the version is pinned, and test_http_protocol.py holds what is relied on); what a request means is not for here.
"""

from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from neuron_runtime.routes.exchange import CONNECTION


class HttpProtocol(HttpToolsProtocol):
    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._running: RequestResponseCycle | None = None
        self._on_gone: Callable[[], None] | None = None

    def watch(self, on_gone: Callable[[], None]) -> None:
        """Have `on_gone` called once, in the event loop, when the client leaves; at once if it has left already.

        For the request being answered, once its body is read: one at a time, and ended by `unwatch` before the reply.
        """
        if self._is_lost():
            on_gone()
            return
        self._on_gone = on_gone
        self.flow.resume_reading()  # a large body pauses reading, and then nobody sees the client leave

    def unwatch(self) -> None:
        self._on_gone = None

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        # uvicorn tells the request that was read last; with pipelining another one is being answered.
        running = self._running
        if running is not None and not running.response_complete:
            running.disconnected = True
            running.message_event.set()
        # A scope refers to its connection: without this, each closed connection would wait for the garbage collector.
        self._running = None
        del self.cycle, self.scope
        self.pipeline.clear()
        on_gone, self._on_gone = self._on_gone, None
        if on_gone is not None:
            on_gone()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        scope: Any = self.scope
        scope[CONNECTION] = self

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        self._running = cycle
        super()._start_asgi_task(cycle, app)

    def _is_lost(self) -> bool:
        return self.parser is None
