"""A proxy before the real API server that spoils what passes through it, as networks and API servers do.

For what a healthy API server can't be asked for: errors in the middle of a stream, watches that lag, refusals, a
partition. It lives on an event loop of its own thread, and every socket is closed by that thread alone: a thread that
still reads from a socket another one has closed goes on with whatever gets the number next.
"""

import asyncio
import json
import ssl
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from aiohttp import web

HOP_BY_HOP = {"connection", "content-length", "host", "transfer-encoding", "accept-encoding"}
LONGEST_ANSWER_S = 60.0
T = TypeVar("T")


@dataclass(frozen=True)
class Passed:
    """A request that was answered, by the API server or in its place."""

    at_s: float
    method: str
    path: str
    status: int
    is_watch: bool


@dataclass
class Refusals:
    """The next `left` requests of that method to that resource get this answer instead of the API server's."""

    method: str
    plural: str
    status: int
    left: int
    headers: dict[str, str] = field(default_factory=dict)

    def concern(self, request: web.Request) -> bool:
        return self.left > 0 and request.method == self.method and self.plural in request.path.split("/")


class FaultyProxy:
    """Plain HTTP on the loopback interface, with the credentials that its client sends."""

    def __init__(self, kubeconfig: Path) -> None:
        self._config = json.loads(kubeconfig.read_text())
        self._upstream = self._config["clusters"][0]["cluster"]
        self._watches: list[tuple[str, web.StreamResponse]] = []
        self._opened = threading.Condition()
        self._refusals: list[Refusals] = []
        self._watch_delay_s = 0.0
        self._passed: list[Passed] = []
        self._silent: set[str] = set()
        self._changed = asyncio.Condition()
        self._is_whole = asyncio.Event()
        self._is_whole.set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever)
        self._thread.start()
        self._port = self._call(self._start()).result()

    def write_kubeconfig(self, path: Path) -> Path:
        cluster = {"server": f"http://127.0.0.1:{self._port}"}
        path.write_text(json.dumps({**self._config, "clusters": [{"name": "test", "cluster": cluster}]}))
        return path

    def inject(self, plural: str, event: dict[str, Any]) -> None:
        """Put the event into the watch of that resource, as soon as there is one."""
        watch = self._watch_of(plural)
        self._call(watch.write(json.dumps(event).encode() + b"\n")).result()

    def delay_watches(self, seconds: float) -> None:
        """From now on every event is told that much later than the API server tells it."""
        self._watch_delay_s = seconds

    def silence(self, plural: str) -> None:
        """From now on the watches of that resource stay open and tell nothing; lists and other requests pass."""
        self._call(self._set_silent(plural, is_silent=True)).result()

    def unsilence(self, plural: str) -> None:
        """What the watches that are still open have kept back is told now."""
        self._call(self._set_silent(plural, is_silent=False)).result()

    def passed(self, method: str, plural: str) -> list[Passed]:
        """The answered requests of that method to that resource, in order, watches included once they have begun."""
        return [p for p in list(self._passed) if p.method == method and plural in p.path.split("/")]

    def passed_since(self, at_s: float) -> list[Passed]:
        return [p for p in list(self._passed) if p.at_s >= at_s]

    def now_s(self) -> float:
        """On the clock of `Passed.at_s`."""
        return self._loop.time()

    def refuse(self, method: str, plural: str, status: int, times: int, **headers: str) -> Refusals:
        """Answer so instead of asking the API server; `left` of what this returns tells how often it still will."""
        refusals = Refusals(method, plural, status, times, {name.replace("_", "-"): v for name, v in headers.items()})
        self._refusals.append(refusals)
        return refusals

    def cut(self) -> None:
        """A partition: nothing gets through in either direction, and nobody is told so."""
        self._loop.call_soon_threadsafe(self._is_whole.clear)

    def heal(self) -> None:
        """The partition is over; what was cut in the middle breaks, as after a long silence."""
        self._loop.call_soon_threadsafe(self._is_whole.set)
        self._call(self._drop_watches()).result()

    def drop_watches(self) -> None:
        """End every watch without a word."""
        self._call(self._drop_watches()).result()

    def close(self) -> None:
        self._call(self._stop()).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, work: Coroutine[Any, Any, T]) -> "Future[T]":
        return asyncio.run_coroutine_threadsafe(work, self._loop)

    def _watch_of(self, plural: str) -> web.StreamResponse:
        def newest() -> web.StreamResponse | None:
            return next((w for path, w in reversed(self._watches) if path.split("?")[0].endswith(f"/{plural}")), None)

        with self._opened:
            found = self._opened.wait_for(newest, LONGEST_ANSWER_S)
        assert found is not None, f"nobody watches {plural}"
        return found

    async def _start(self) -> int:
        context = ssl.create_default_context(cafile=self._upstream["certificate-authority"])
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=context, limit=0), timeout=aiohttp.ClientTimeout(total=None)
        )
        app = web.Application(client_max_size=16 * 1024**2)
        app.router.add_route("*", "/{path:.*}", self._answer)
        # Its requests are canceled when their client leaves, and all of them at the end.
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        return int(self._runner.addresses[0][1])

    async def _stop(self) -> None:
        await self._drop_watches()
        await self._runner.cleanup()
        await self._session.close()

    async def _drop_watches(self) -> None:
        for _, watch in self._watches:
            with suppress(AttributeError):  # its client has left already
                watch._req.transport.abort()  # type: ignore[union-attr] # there is no public way to break an answer
        self._watches.clear()

    async def _answer(self, request: web.Request) -> web.StreamResponse:
        await self._is_whole.wait()
        for refusals in self._refusals:
            if refusals.concern(request):
                refusals.left -= 1
                self._note(request, refusals.status)
                return web.json_response(
                    {"kind": "Status", "message": "refused by the proxy"},
                    status=refusals.status,
                    headers=refusals.headers,
                )
        body = await request.read()
        headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
        url = self._upstream["server"] + request.raw_path
        async with self._session.request(request.method, url, data=body or None, headers=headers) as answer:
            if "watch=true" in request.query_string:
                return await self._forward_watch(request, answer)
            self._note(request, answer.status)
            content = await answer.read()
            await self._is_whole.wait()
            passed = {name: answer.headers[name] for name in ("Content-Type", "Retry-After") if name in answer.headers}
            return web.Response(status=answer.status, headers=passed, body=content)

    async def _forward_watch(self, request: web.Request, answer: aiohttp.ClientResponse) -> web.StreamResponse:
        """Whole events, so that one can be put between them, each as much later as it is told to be."""
        watch = web.StreamResponse(status=answer.status, headers={"Content-Type": answer.headers["Content-Type"]})
        await watch.prepare(request)
        with self._opened:
            self._watches.append((request.raw_path, watch))
            self._opened.notify_all()
        # Not before something can be put into it: who has seen it begin would put that into the one before.
        self._note(request, answer.status)
        told: asyncio.Queue[tuple[float, bytes] | None] = asyncio.Queue()
        telling = asyncio.create_task(self._tell(watch, request.path.rsplit("/", 1)[-1], told))
        try:
            rest = b""
            async for chunk in answer.content.iter_any():
                *lines, rest = (rest + chunk).split(b"\n")
                for line in lines:
                    told.put_nowait((self._loop.time(), line + b"\n"))
            told.put_nowait(None)
            await telling
        finally:
            telling.cancel()
        return watch

    async def _tell(
        self, watch: web.StreamResponse, plural: str, told: "asyncio.Queue[tuple[float, bytes] | None]"
    ) -> None:
        while (event := await told.get()) is not None:
            await asyncio.sleep(event[0] + self._watch_delay_s - self._loop.time())
            async with self._changed:
                await self._changed.wait_for(lambda: plural not in self._silent)
            await self._is_whole.wait()
            await watch.write(event[1])

    async def _set_silent(self, plural: str, *, is_silent: bool) -> None:
        async with self._changed:
            (self._silent.add if is_silent else self._silent.discard)(plural)
            self._changed.notify_all()

    def _note(self, request: web.Request, status: int) -> None:
        is_watch = "watch=true" in request.query_string
        self._passed.append(Passed(self._loop.time(), request.method, request.path, status, is_watch))
