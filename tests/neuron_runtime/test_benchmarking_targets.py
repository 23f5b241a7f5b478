"""What a benchmark sends, and the arguments it takes."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import orjson
import pytest

from neuron_runtime.benchmarking import command, flags, targets
from neuron_runtime.benchmarking.measurement import Objective
from neuron_runtime.benchmarking.payloads import PayloadError, infer_payload
from neuron_runtime.benchmarking.targets import Target, TargetError

URL = "http://127.0.0.1:8080"


def parts(target: Target) -> tuple[str, dict[str, str], bytes]:
    """Request line, header fields and body."""
    head, _, body = target.request.partition(b"\r\n\r\n")
    line, *fields = head.decode().split("\r\n")
    return line, dict(field.split(": ", 1) for field in fields), body


@contextmanager
def answering(answers: dict[str, tuple[int, bytes]]) -> Iterator[str]:
    """The URL of a server that answers these paths and 404 for the rest."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status, body = answers.get(self.path, (404, b'{"error": "not here"}'))
            self.send_response(status)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def do_POST(self) -> None:
            self.do_GET()

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


def test_predict_sends_a_text() -> None:
    line, fields, body = parts(targets.predict_target(URL, "fine “day”"))

    assert line == "POST /predict HTTP/1.1"
    assert orjson.loads(body) == {"text": "fine “day”"}
    assert fields == {"host": "127.0.0.1:8080", "content-length": str(len(body)), "content-type": "application/json"}


def test_embeddings_name_their_model() -> None:
    line, _, body = parts(targets.embeddings_target(URL, "fine", "minilm"))

    assert line == "POST /v1/embeddings HTTP/1.1"
    assert orjson.loads(body) == {"model": "minilm", "input": "fine"}


def test_embeddings_ask_for_the_model_when_none_is_named() -> None:
    with answering({"/v1/models": (200, b'{"data": [{"id": "minilm"}]}')}) as url:
        assert orjson.loads(parts(targets.embeddings_target(url, "fine"))[2])["model"] == "minilm"


def test_infer_builds_its_tensors_from_the_metadata() -> None:
    metadata = {"inputs": [{"name": "ids", "datatype": "INT64", "shape": [-1, -1]}]}
    with answering({"/v2/models/a%20b": (200, orjson.dumps(metadata))}) as url:
        line, _, body = parts(targets.infer_target(url, "a b", rows=2, free_size=3))

    assert line == "POST /v2/models/a%20b/infer HTTP/1.1"
    assert orjson.loads(body) == {"inputs": [{"name": "ids", "datatype": "INT64", "shape": [2, 3], "data": [1] * 6}]}


@pytest.mark.parametrize(
    ("entry", "shape", "value"),
    [
        pytest.param({"datatype": "FP32", "shape": [-1, 16]}, [4, 16], 1.0, id="fixed columns"),
        pytest.param({"datatype": "BYTES", "shape": [-1]}, [4], "1", id="one text a row"),
        pytest.param({"datatype": "BOOL", "shape": [2, -1]}, [2, 8], True, id="a fixed batch stays"),
        pytest.param({"datatype": "UINT8", "shape": []}, [1], 1, id="no shape"),
    ],
)
def test_payloads(entry: dict[str, Any], shape: list[int], value: object) -> None:
    (tensor,) = infer_payload({"inputs": [{"name": "x", **entry}]}, rows=4, free_size=8)["inputs"]

    assert tensor["shape"] == shape
    assert set(tensor["data"]) == {value}


@pytest.mark.parametrize(
    ("metadata", "reason"),
    [
        ({}, "lists no inputs"),
        ({"inputs": [{"name": "half", "datatype": "FP16", "shape": [-1]}]}, "'half' is FP16, which has no JSON form"),
        ({"inputs": ["ids"]}, "describes an input as 'ids'"),
    ],
)
def test_metadata_that_leads_to_no_request(metadata: dict[str, Any], reason: str) -> None:
    with pytest.raises(PayloadError, match=reason):
        infer_payload(metadata, rows=1, free_size=1)


@pytest.mark.parametrize(
    ("url", "host", "port", "line"),
    [
        pytest.param("http://pod", "pod", 80, "GET /x HTTP/1.1", id="the default port"),
        pytest.param("http://[::1]:81/base/", "::1", 81, "GET /base/x HTTP/1.1", id="IPv6, below a path"),
    ],
)
def test_addresses(url: str, host: str, port: int, line: str) -> None:
    target = targets.raw_target(url, "GET", "/x", {"x-key": "1"}, b"")

    assert (target.host, target.port, parts(target)[0]) == (host, port, line)
    assert parts(target)[1]["x-key"] == "1"


@pytest.mark.parametrize("url", ["https://pod", "pod:8080", "http://", "http://pod:http", "ftp://pod"])
def test_what_is_no_plain_http_address_is_refused(url: str) -> None:
    with pytest.raises(TargetError, match="not http://HOST:PORT"):
        targets.predict_target(url, "")


def test_the_first_request_must_be_answered_well() -> None:
    with answering({"/predict": (503, b'{"error": "loading"}')}) as url:
        target = targets.predict_target(url, "fine")
        with pytest.raises(TargetError, match=r'/predict was answered 503: \{"error": "loading"\}'):
            targets.check(target)


def test_a_server_without_a_model_list_needs_the_name() -> None:
    with answering({}) as url, pytest.raises(TargetError, match="Name one with --model"):
        targets.infer_target(url)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        pytest.param([], "--url", id="no server"),
        pytest.param(["--clients", "0"], "not more than 0", id="no client"),
        pytest.param(["--clients", "1,2.5"], "whole number", id="half a client"),
        pytest.param(["--rates", "fast"], "'fast' is not a number", id="no rate"),
        pytest.param(["--rates", "-1"], "not more than 0", id="a negative rate"),
        pytest.param(["--p99", "20"], "such as 20ms", id="an objective without a unit"),
        pytest.param(["--max-error-ratio", "5"], "write 0.01 for 1 %", id="percent"),
        pytest.param(["--seconds", "899", "--warmup-seconds", "2"], "at most 900", id="too long"),
        pytest.param(["--warmup-seconds", "-1"], "less than 0", id="a negative warm-up"),
    ],
)
def test_wrong_arguments_are_explained(argv: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        flags.parse(argv if not argv else ["--url", URL, *argv])

    assert ended.value.code == command.Exit.UNUSABLE
    assert told in capsys.readouterr().err


def test_arguments() -> None:
    options = flags.parse(["--url", URL, "--rates", "100,2.5", "--p99", "20ms", "--p50", "5ms"])

    assert (options.clients, options.rates) == ((), (100.0, 2.5))
    assert (options.p50, options.p99, options.p999) == (Objective(50.0, 0.005), Objective(99.0, 0.02), None)
    assert flags.parse(["--url", URL]).clients == (1, 8, 64)


def test_an_unreachable_server_ends_with_its_address(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    with answering({}) as url:
        pass

    assert command.run(["--url", url, "--api", "predict"]) == command.Exit.UNUSABLE
    assert f"POST {url}/predict was not answered: " in capsys.readouterr().err
    assert command.run(["--url", url, "--body-file", str(tmp_path / "none")]) == command.Exit.UNUSABLE
