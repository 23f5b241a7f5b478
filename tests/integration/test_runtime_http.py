"""What clients get up to on the wire, against a real server on the simulated device: nothing of it may hold the server,
be answered with a 500, or leave anything behind."""

import asyncio
import contextlib
import json
import random
import re
import socket
import struct
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from runtime_server import RunningServer, ready, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

INFER = b"/v2/models/simulated/infer"
BODY = json.dumps({"inputs": [{"name": "input", "shape": [1, 16], "datatype": "FP32", "data": [1] * 16}]}).encode()


def simulated(*flags: str, service_ms: float = 5) -> tuple[str, ...]:
    return ("--engine", "simulated", "--simulated-service-ms", str(service_ms), *flags)


def head(*fields: str, length: int | None = len(BODY), path: bytes = INFER) -> bytes:
    lines = [f"POST {path.decode()} HTTP/1.1", "host: x", *fields]
    if length is not None:
        lines.append(f"content-length: {length}")
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


@contextmanager
def connected(server: RunningServer) -> Iterator[socket.socket]:
    url = httpx.URL(server.url)
    with socket.create_connection((url.host, url.port or 0)) as connection:
        yield connection


def said(connection: socket.socket) -> bytes:
    """Everything until the server ends the connection."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def statuses(answer: bytes) -> list[int]:
    return [int(status) for status in re.findall(rb"HTTP/1\.1 (\d+) ", answer)]


def exchange(server: RunningServer, request: bytes) -> bytes:
    with connected(server) as connection:
        connection.sendall(request)
        return said(connection)


def reset(connection: socket.socket) -> None:
    """Leave without a good-bye, as a client that was killed."""
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()


def open_files(server: RunningServer) -> int:
    return len(list(Path(f"/proc/{server.process.pid}/fd").iterdir()))


def is_at_rest(server: RunningServer) -> bool:
    """Nothing waits, and no connection is left but the one that asks."""
    return server.metric("neuron_model_queue_rows") == 0 and server.metric("neuron_model_connections") == 1


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    flags = ("--header-timeout-seconds", "1", "--body-timeout-seconds", "1", "--max-body-bytes", "100000")
    with ready(*simulated(*flags)) as started:
        yield started


CHUNKS = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (BODY[:7], BODY[7:8], BODY[8:])) + b"0\r\n\r\n"
TOO_MUCH = b"%x\r\n%s\r\n" % (60_000, b" " * 60_000)


@pytest.mark.parametrize(
    ("request_bytes", "answers"),
    [
        pytest.param(head("transfer-encoding: chunked", length=None) + CHUNKS, [200], id="chunked"),
        pytest.param(
            head("transfer-encoding: chunked", length=None) + TOO_MUCH * 2 + b"0\r\n\r\n",
            [413],
            id="chunked, too large",
        ),
        pytest.param(head(length=100_001) + bytes(100_001), [413], id="too large"),
        pytest.param(head("transfer-encoding: chunked") + CHUNKS, [400], id="two framings"),
        pytest.param(head("transfer-encoding: chunked", length=None) + b"zz\r\n", [400], id="broken chunk"),
        pytest.param(head("content-encoding: gzip") + BODY, [400], id="gzip"),
        pytest.param(head() + BODY + head() + BODY, [200, 200], id="pipelined"),
        pytest.param(head() + BODY + b"nonsense\r\n\r\n", [200, 400], id="pipelined nonsense"),
        pytest.param(head("expect: 100-continue", length=100_001), [413], id="100-continue, too large"),
        pytest.param(head()[:-2], [408], id="slow head"),
        pytest.param(head() + BODY[:-1], [408], id="slow body"),
        pytest.param(head("expect: 100-continue"), [100, 408], id="100-continue, no body"),
        pytest.param(head("connection: upgrade", "upgrade: h2c") + BODY, [200], id="offer of HTTP/2"),
    ],
)
def test_every_way_to_send_a_request_has_its_answer(
    server: RunningServer, request_bytes: bytes, answers: list[int]
) -> None:
    last = b"" if answers[-1] in (400, 408, 413) and b"gzip" not in request_bytes else b"GET /health HTTP/1.0\r\n\r\n"
    answer = exchange(server, request_bytes + last)

    assert statuses(answer) == answers + ([200] if last else [])
    assert b"connection: close" in answer


def test_slow_heads_and_bodies_hold_nobody_up(server: RunningServer) -> None:
    with ThreadPoolExecutor(64) as threads:
        slow = [threads.submit(exchange, server, request) for request in [head()[:-2], head() + BODY[:-1]] * 32]
        with server.client() as client:
            assert [client.post(INFER.decode(), content=BODY).status_code for _ in range(10)] == [200] * 10
        assert [statuses(each.result()) for each in slow] == [[408]] * 64


def test_a_gzip_bomb_is_refused_unread(server: RunningServer) -> None:
    with connected(server) as connection:
        connection.sendall(head("content-encoding: gzip", length=10**12))
        answer = connection.recv(65536)
        connection.sendall(bytes(1_000_000))

        assert statuses(answer) == [400]
        assert b"content-encoding gzip is not supported" in answer


def test_a_truncated_body_is_a_canceled_request_and_no_failure(server: RunningServer) -> None:
    before = server.metric("neuron_model_requests_canceled_total")
    for end in (socket.socket.close, reset):
        with connected(server) as connection:
            connection.sendall(head() + BODY[:-1])
            end(connection)
    wait_until(lambda: server.metric("neuron_model_requests_canceled_total") == before + 2)

    assert not any('"code":500' in line for line in server.lines)


def test_a_client_that_cancels_in_a_batch_does_not_hurt_its_mates() -> None:
    with ready(*simulated("--cores", "1", "--max-batch-size", "8", "--in-flight", "1", service_ms=1000)) as server:
        with ThreadPoolExecutor(7) as threads, connected(server) as leaver:
            first = threads.submit(exchange, server, head("connection: close") + BODY)
            leaver.sendall(head() + BODY)
            mates = [threads.submit(exchange, server, head("connection: close") + BODY) for _ in range(6)]
            wait_until(lambda: server.metric("neuron_model_queue_rows") >= 1)
            reset(leaver)
            wait_until(lambda: server.metric("neuron_model_requests_canceled_total") == 1)

            assert [statuses(each.result()) for each in [first, *mates]] == [[200]] * 7
        wait_until(lambda: is_at_rest(server))


async def test_the_queue_is_filled_by_a_thousand_clients_at_once() -> None:
    flags = simulated("--cores", "1", "--max-batch-size", "8", "--queue-capacity-rows", "64", service_ms=20)
    with ready(*flags) as server:
        url = httpx.URL(server.url)
        files = open_files(server)

        async def ask() -> bytes:
            reader, writer = await asyncio.open_connection(url.host, url.port)
            writer.write(head("connection: close") + BODY)
            answer = await reader.read()
            writer.close()
            return answer

        answers = await asyncio.gather(*[ask() for _ in range(1000)])
        outcomes = Counter(tuple(statuses(answer)) for answer in answers)

        assert set(outcomes) == {(200,), (429,)}
        assert all(b"retry-after" in answer for answer in answers if statuses(answer) == [429])
        await asyncio.to_thread(wait_until, lambda: is_at_rest(server))
        assert server.metric("neuron_model_requests_total") == 1000
        await asyncio.to_thread(wait_until, lambda: open_files(server) <= files + 1)


async def test_health_answers_beside_a_thousand_connections_and_beyond_the_most() -> None:
    with ready(*simulated("--max-connections", "500")) as server:
        url = httpx.URL(server.url)
        opened = [await asyncio.open_connection(url.host, url.port) for _ in range(1000)]

        assert await asyncio.to_thread(server.get_status, "/health") == 200
        # The one that asks may come before the one that has to go is gone.
        assert await asyncio.to_thread(server.metric, "neuron_model_connections") <= 501
        assert await asyncio.to_thread(server.metric, "neuron_model_connections_ended_total") >= 500
        for _, writer in opened:
            writer.transport.abort()


class Fuzz:
    """Requests that are nearly right, the same for each seed."""

    PATHS = (
        INFER,
        INFER,
        b"/predict",
        b"/v1/embeddings",
        b"/health",
        b"/metrics",
        b"/v2",
        b"/v2/models/simulated",
        b"/",
    )
    FIELDS = (
        b"content-encoding: gzip",
        b"connection: upgrade\r\nupgrade: websocket",
        b"inference-header-content-length: 20",
        b"inference-header-content-length: x",
        b"x-request-timeout-seconds: 0.001",
        b"x-request-timeout-seconds: nan",
        b"x-request-id: \xff",
        b"traceparent: 00-0-0-0",
        b"content-type: multipart/form-data; boundary=a",
    )
    ENDS = (
        b"content-length: 0",
        b"content-length: -1",
        b"content-length: 99999999999999999999",
        b"transfer-encoding: chunked",
        b"transfer-encoding: gzip, chunked",
        b"expect: 100-continue",
        b"connection: close",
        b": empty",
        b" folded",
        b"x: \x00",
    )
    VALUES = ("null", "-1", "1e999", "[]", "{}", '""', '"\\ud800"', "[[[[[[1]]]]]]", "NaN", "9" * 400, "true")

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)

    def requests(self, count: int) -> bytes:
        """On one connection; only the last may end it, or the others would hardly ever be read."""
        return b"".join(self._request(is_last=number == count) for number in range(1, count + 1))

    def _request(self, *, is_last: bool) -> bytes:
        chance = self._random.random
        method = self._random.choice([b"POST"] * 6 + [b"GET", b"HEAD", b"OPTIONS", b"DELETE"])
        lines = [b"%s %s HTTP/1.1" % (method, self._random.choice(self.PATHS)), b"host: x"]
        body = self._body()
        if chance() < 0.2:
            lines.append(b"transfer-encoding: chunked")
            body = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:]) if part) + b"0\r\n\r\n"
        else:
            lines.append(b"content-length: %d" % len(body))
        if chance() < 0.4:
            lines.append(self._random.choice(self.ENDS if is_last else self.FIELDS))
        request = bytearray(b"\r\n".join(lines) + b"\r\n\r\n" + body)
        if is_last and chance() < 0.6:
            self._damage(request)
        return bytes(request)

    def _body(self) -> bytes:
        text = BODY.decode()
        for _ in range(self._random.choice([0, 0, 1, 1, 3])):
            begin, end = self._random.choice([match.span() for match in re.finditer(r'"\w+"|\[|\d+', text)])
            text = text[:begin] + self._random.choice(self.VALUES) + text[end:]
        return text.encode("utf-8", "surrogatepass")

    def _damage(self, request: bytearray) -> None:
        for _ in range(self._random.randint(1, 4)):
            at = self._random.randrange(len(request))
            kind = self._random.randrange(4)
            if kind == 0:
                request[at] = self._random.randrange(256)
            elif kind == 1:
                del request[at : at + self._random.randint(1, 20)]
            elif kind == 2:
                request[at:at] = self._random.randbytes(self._random.randint(1, 20))
            else:
                del request[at:]
            if not request:
                return


async def test_ten_thousand_fuzzed_requests_bring_no_500_and_leave_nothing_behind() -> None:
    times = ("--header-timeout-seconds", "1", "--body-timeout-seconds", "1", "--request-timeout-seconds", "5")
    with ready(*simulated(*times, "--queue-capacity-rows", "64", service_ms=1)) as server:
        url = httpx.URL(server.url)
        files = open_files(server)
        fuzz = Fuzz(seed=20260101)
        left = iter(range(2500))
        answers: Counter[int] = Counter()

        async def keep_asking() -> None:
            for number in left:
                requests = fuzz.requests(4)
                reader, writer = await asyncio.open_connection(url.host, url.port)
                writer.write(requests + b"GET /v2/health/live HTTP/1.0\r\n\r\n")
                if number % 10:
                    # Where the damage hides the end from the server, the connection is just idle.
                    with contextlib.suppress(ConnectionError, TimeoutError):
                        async with asyncio.timeout(5):
                            answers.update(statuses(await reader.read()))
                writer.transport.abort()

        await asyncio.gather(*[keep_asking() for _ in range(250)])

        assert answers[200] > 1000
        assert set(answers) <= {100, 200, 400, 404, 405, 408, 413, 415, 429, 431, 503, 504}, answers
        await asyncio.to_thread(wait_until, lambda: is_at_rest(server))
        await asyncio.to_thread(wait_until, lambda: open_files(server) <= files + 1)
        assert [line for line in server.lines if "Traceback" in line or "unexpected" in line] == []
        # A request that never ended would hold up the drain.
        assert await asyncio.to_thread(server.terminate) == 0
