"""A proxy before the real API server that can put an event of its own into the watches that pass through it.

For what a healthy API server can't be asked for: errors in the middle of a stream.
"""

import json
import ssl
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx

HOP_BY_HOP = {"connection", "content-length", "host", "transfer-encoding", "accept-encoding"}


class FaultyProxy:
    """Plain HTTP on the loopback interface, with the credentials that its client sends."""

    def __init__(self, kubeconfig: Path) -> None:
        self._config = json.loads(kubeconfig.read_text())
        cluster = self._config["clusters"][0]["cluster"]
        verify = ssl.create_default_context(cafile=cluster["certificate-authority"])
        self._upstream = httpx.Client(base_url=cluster["server"], verify=verify, timeout=None)
        self._watches: list[tuple[str, BaseHTTPRequestHandler]] = []
        self._opened = threading.Condition()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def write_kubeconfig(self, path: Path) -> Path:
        cluster = {"server": f"http://127.0.0.1:{self._server.server_address[1]}"}
        path.write_text(json.dumps({**self._config, "clusters": [{"name": "test", "cluster": cluster}]}))
        return path

    def inject(self, plural: str, event: dict[str, Any], timeout_s: float = 60) -> None:
        """Put the event into the watch of that resource, as soon as there is one."""

        def watch() -> BaseHTTPRequestHandler | None:
            return next((handler for path, handler in self._watches if path.split("?")[0].endswith(f"/{plural}")), None)

        with self._opened:
            handler = self._opened.wait_for(watch, timeout_s)
        assert handler is not None, f"nobody watches {plural}"
        self._write(handler, json.dumps(event))

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()
        self._upstream.close()

    def _forward(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        headers = {name: value for name, value in handler.headers.items() if name.lower() not in HOP_BY_HOP}
        with self._upstream.stream(handler.command, handler.path, content=body, headers=headers) as answer:
            handler.send_response(answer.status_code)
            handler.send_header("Content-Type", answer.headers["Content-Type"])
            handler.end_headers()
            if "watch=true" in handler.path:
                self._forward_watch(handler, answer)
                return
            for chunk in answer.iter_bytes():
                handler.wfile.write(chunk)
                handler.wfile.flush()

    def _forward_watch(self, handler: BaseHTTPRequestHandler, answer: httpx.Response) -> None:
        """Whole events, so that one can be put between them."""
        with self._opened:
            self._watches.append((handler.path, handler))
            self._opened.notify_all()
        for line in answer.iter_lines():
            self._write(handler, line)

    def _write(self, handler: BaseHTTPRequestHandler, line: str) -> None:
        with self._opened:
            handler.wfile.write(line.encode() + b"\n")
            handler.wfile.flush()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        forward = self._forward

        class Handler(BaseHTTPRequestHandler):
            def answer(self) -> None:
                try:
                    forward(self)
                except (OSError, httpx.HTTPError, RuntimeError):
                    self.close_connection = True  # one of the two has gone, as at the end of every test

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        for verb in ("GET", "POST", "PUT", "PATCH", "DELETE"):
            setattr(Handler, f"do_{verb}", Handler.answer)
        return Handler
