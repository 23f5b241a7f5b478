"""An API server that knows our kind and then says nothing more: what the operator meets in the seconds of a start.

Used by the tests that end the operator before its watches are up. Answers the one question of `serves_models`.
"""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

MODELS = "/apis/neuron-serving.dev/v1alpha1/neuronmodels"


class SilentApiServer:
    """Plain HTTP on the loopback interface; `met` is set once something was asked that it does not answer."""

    def __init__(self, *, knows_models: bool) -> None:
        self.met, self._closing = threading.Event(), threading.Event()
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler(knows_models))
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def write_kubeconfig(self, path: Path) -> Path:
        cluster = {"server": f"http://127.0.0.1:{self._server.server_address[1]}"}
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": "silent", "cluster": cluster}],
            "users": [{"name": "anyone", "user": {"token": "any"}}],
            "contexts": [{"name": "silent", "context": {"cluster": "silent", "user": "anyone"}}],
            "current-context": "silent",
        }
        path.write_text(json.dumps(config))
        return path

    def close(self) -> None:
        self._closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self, knows_models: bool) -> type[BaseHTTPRequestHandler]:
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                if not (knows_models and self.path.startswith(MODELS)):
                    outer.met.set()
                    outer._closing.wait()
                    return
                body = json.dumps({"items": [], "metadata": {}}).encode()
                self.send_response(200)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Nobody reads it."""

        return Handler
