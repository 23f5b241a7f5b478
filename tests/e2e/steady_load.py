"""Steady load on a Service's cluster IP, which keeps account of every request that was not answered rightly.

Half of the clients keep their connection and half open one for every request, since a pod that goes is forgotten in
different ways by the two. Nothing is sent twice: an answer that did not come is a failure, whoever is to blame.
"""

import asyncio
import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Final

KEPT_CLIENTS: Final = 10
FRESH_CLIENTS: Final = 10
PERIOD_S: Final = 0.08
PATIENCE_S: Final = 30.0
BODY: Final = b'{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1, 4], "data": [1, 2, 3, 4]}]}'


@dataclass
class Load:
    """What came of it; `failures` say when, on which kind of connection and what happened instead of the answer."""

    host: str
    model: str
    answered: int = 0
    failures: list[str] = field(default_factory=list)
    slowest_s: float = 0.0
    started_at: float = field(default_factory=time.monotonic)
    enough: threading.Event = field(default_factory=threading.Event)
    stopping: threading.Event = field(default_factory=threading.Event)

    def __str__(self) -> str:
        return f"{self.answered} answered, {len(self.failures)} failed, the slowest after {self.slowest_s:.2f} s"

    def fail(self, client: str, words: str) -> None:
        self.failures.append(f"{time.monotonic() - self.started_at:.2f} s, {client}: {words}")


@dataclass
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter


@contextmanager
def steady_load(host: str, model: str, least_answers: int) -> Iterator[Load]:
    """Load from before the block until it is over and `least_answers` have come."""
    load = Load(host, model)
    thread = threading.Thread(target=_drive, args=(load, least_answers), name="steady load")
    thread.start()
    try:
        yield load
        # A server that answers nothing fails each request after its patience, so this ends too.
        load.enough.wait()
    finally:
        load.stopping.set()
        thread.join()


def _drive(load: Load, least_answers: int) -> None:
    try:
        asyncio.run(_run(load, least_answers))
    finally:
        load.enough.set()


async def _run(load: Load, least_answers: int) -> None:
    kinds = [("kept", True)] * KEPT_CLIENTS + [("fresh", False)] * FRESH_CLIENTS
    async with asyncio.TaskGroup() as group:
        for place, (kind, keeps) in enumerate(kinds):
            delay_s = PERIOD_S * place / len(kinds)
            group.create_task(_client(load, f"{kind} {place}", least_answers, keeps=keeps, delay_s=delay_s))


async def _client(load: Load, name: str, least_answers: int, *, keeps: bool, delay_s: float) -> None:
    """One request each period; the next period begins when a slow answer has come."""
    await asyncio.sleep(delay_s)
    connection: _Connection | None = None
    while not load.stopping.is_set():
        started = time.monotonic()
        try:
            async with asyncio.timeout(PATIENCE_S):
                connection = await _ask(load, name, connection)
        except (OSError, EOFError, LookupError, ValueError) as error:
            load.fail(name, f"{type(error).__name__} {error} after {time.monotonic() - started:.2f} s")
            connection = None
        took_s = time.monotonic() - started
        load.slowest_s = max(load.slowest_s, took_s)
        if load.answered + len(load.failures) >= least_answers:
            load.enough.set()
        if connection is not None and not keeps:
            connection.writer.close()
            connection = None
        await asyncio.sleep(max(0.0, PERIOD_S - took_s))
    if connection is not None:
        connection.writer.close()


async def _ask(load: Load, name: str, connection: _Connection | None) -> _Connection | None:
    """Ask once, on a new connection where there is none or the server has closed it between two requests."""
    if connection is not None and connection.reader.at_eof():
        connection.writer.close()
        connection = None
    if connection is None:
        connection = _Connection(*await asyncio.open_connection(load.host, 80))
    try:
        connection.writer.write(_request(load))
        status, closes, body = await _read_answer(connection.reader)
        is_right = status == 200 and json.loads(body)["outputs"][0]["shape"] == [1, 2]
    except BaseException:
        connection.writer.close()
        raise
    if is_right:
        load.answered += 1
    else:
        load.fail(name, f"{status} {body.decode(errors='replace')}")
    if closes:
        connection.writer.close()
        return None
    return connection


def _request(load: Load) -> bytes:
    head = f"POST /v2/models/{load.model}/infer HTTP/1.1\r\nHost: {load.host}\r\nContent-Length: {len(BODY)}\r\n"
    return head.encode() + b"Content-Type: application/json\r\n\r\n" + BODY


async def _read_answer(reader: asyncio.StreamReader) -> tuple[int, bool, bytes]:
    """Status, whether the server wants the connection closed, and the body."""
    first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().lower().splitlines()
    headers = dict(line.split(": ", 1) for line in lines if line)
    body = await reader.readexactly(int(headers["content-length"]))
    return int(first.split()[1]), headers.get("connection") == "close", body
