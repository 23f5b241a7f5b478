"""A client of the API server that costs little itself: one kept connection a thread, plain dicts, watches as iterators.

For what is done thousands of times around a measurement; the tests' own client says more about what went wrong.
"""

import contextlib
import http.client
import json
import os
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

Body = dict[str, Any]
TIMEOUT_S = 60.0
# The API server closes a connection that was idle for 90 seconds, perhaps just when it is used again.
LONGEST_IDLE_S = 30.0
# The API server ends a watch after it; nobody here watches for as long.
WATCH_S = 7200
JSON, MERGE, APPLY = "application/json", "application/merge-patch+json", "application/apply-patch+yaml"
# Lists are merged by their items' names and types.
STRATEGIC = "application/strategic-merge-patch+json"


class RefusedError(Exception):
    """The API server's answer is an error; `code` is its HTTP code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Client:
    """Requests as the user of a kubeconfig with a token. Any number of threads may use it."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self._address = urlsplit(cluster["server"]).netloc
        self._context = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._headers = {"Authorization": f"Bearer {config['users'][0]['user']['token']}", "Accept": JSON}
        self._own = threading.local()
        self._opened: list[http.client.HTTPSConnection] = []

    def close(self) -> None:
        """Every thread's connection; the watches are closed by those who have them."""
        for connection in self._opened:
            connection.close()

    def request(self, method: str, path: str, body: Body | bytes | None = None, content_type: str = JSON) -> Body:
        """The answer; RefusedError for any code from 300 on."""
        connection = self._connection()
        if time.monotonic() - getattr(self._own, "used_at", 0.0) > LONGEST_IDLE_S:
            # It opens another by itself.
            connection.close()
        encoded = json.dumps(body).encode() if isinstance(body, dict) else body
        try:
            connection.request(method, path, encoded, self._headers | {"Content-Type": content_type})
            answer = connection.getresponse()
            content = answer.read()
            self._own.used_at = time.monotonic()
        except (OSError, http.client.HTTPException):
            connection.close()
            raise
        if answer.status >= 300:
            raise _refused(method, path, answer.status, content)
        return dict(json.loads(content))

    def watch(self, path: str, resource_version: str) -> "Watch":
        """What changes from that version on, until it is closed."""
        connection = self._connect(None)
        query = f"{path}?watch=true&resourceVersion={resource_version}&timeoutSeconds={WATCH_S}"
        connection.request("GET", query, headers=self._headers)
        # Before the answer, which takes the socket over.
        handle = os.dup(connection.sock.fileno())
        answer = connection.getresponse()
        watch = Watch(connection, answer, socket.socket(fileno=handle))
        if answer.status >= 300:
            content = answer.read()
            watch.close()
            raise _refused("GET", query, answer.status, content)
        return watch

    def _connection(self) -> http.client.HTTPSConnection:
        found: http.client.HTTPSConnection | None = getattr(self._own, "connection", None)
        if found is None:
            found = self._own.connection = self._connect(TIMEOUT_S)
            self._opened.append(found)
        return found

    def _connect(self, timeout_s: float | None) -> http.client.HTTPSConnection:
        return http.client.HTTPSConnection(self._address, timeout=timeout_s, context=self._context)


class Watch:
    """Events as the API server sends them; `close`, from any thread, ends the iteration."""

    def __init__(
        self, connection: http.client.HTTPSConnection, answer: http.client.HTTPResponse, handle: socket.socket
    ) -> None:
        self._connection, self._answer, self._handle = connection, answer, handle

    def __iter__(self) -> Iterator[Body]:
        # However a connection ends, there is nothing more to come.
        ended = contextlib.suppress(OSError, http.client.HTTPException, ValueError)
        with contextlib.closing(self._connection), contextlib.closing(self._answer), ended:
            for line in self._answer:
                yield json.loads(line)

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._handle.shutdown(socket.SHUT_RDWR)
        self._handle.close()


def _refused(method: str, path: str, code: int, content: bytes) -> RefusedError:
    return RefusedError(code, f"{method} {path}: {code} {content.decode(errors='replace')}")
