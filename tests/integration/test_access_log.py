"""The access log and the figures of the bundle, as a real server shows them."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from neuron_runtime.fetching.transfer import Request, fetch
from runtime_builders import tensor_bundle
from runtime_server import RunningServer, ready, wait_until

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
TRACEPARENT = f"00-{TRACE}-{SPAN}-01"
PAYLOAD = 31337.25


@pytest.fixture(scope="module")
def server() -> Iterator[RunningServer]:
    with ready("--engine", "simulated", "--access-log-ratio", "1") as running:
        yield running


def ask(server: RunningServer, request_id: str, rows: int = 2, **headers: str) -> httpx.Response:
    with server.client() as client:
        (spec,) = client.get("/v2/models/simulated").json()["inputs"]
        shape = [rows, *spec["shape"][1:]]
        count = rows * int(spec["shape"][1])
        tensor = {"name": spec["name"], "shape": shape, "datatype": spec["datatype"], "data": [PAYLOAD] * count}
        body = {"inputs": [tensor]}
        return client.post("/v2/models/simulated/infer", json=body, headers={"X-Request-Id": request_id, **headers})


def line_of(server: RunningServer, request_id: str) -> dict[str, object]:
    wait_until(lambda: any(f'"{request_id}"' in line for line in server.lines))
    found: dict[str, object] = json.loads(next(line for line in server.lines if f'"{request_id}"' in line))
    return found


def test_a_line_has_the_callers_trace_and_where_the_time_went(server: RunningServer) -> None:
    answer = ask(server, "with-trace", traceparent=TRACEPARENT, tracestate="vendor=secret")
    line = line_of(server, "with-trace")

    assert answer.status_code == 200
    assert (line["traceId"], line["spanId"]) == (TRACE, SPAN)
    assert (line["api"], line["code"], line["rows"]) == ("infer", 200, 2)
    assert line["bytesIn"] == len(answer.request.content)
    parts = [line[f"{part}Seconds"] for part in ("queue", "batchWait", "device", "total")]
    assert all(isinstance(seconds, float) and seconds >= 0 for seconds in parts)


def test_a_reply_echoes_the_request_id_and_not_the_trace(server: RunningServer) -> None:
    answer = ask(server, "echoed", traceparent=TRACEPARENT)

    assert answer.headers["x-request-id"] == "echoed"
    assert "traceparent" not in answer.headers


def test_a_header_that_is_no_trace_is_ignored(server: RunningServer) -> None:
    assert ask(server, "no-trace", traceparent=TRACEPARENT.upper()).status_code == 200
    assert "traceId" not in line_of(server, "no-trace")


def test_a_refusal_has_its_line_too(server: RunningServer) -> None:
    assert ask(server, "too-many", rows=2000).status_code == 413
    line = line_of(server, "too-many")

    assert (line["code"], line["rows"]) == (413, 0)
    assert "deviceSeconds" not in line


def test_no_line_holds_a_payload_or_a_foreign_header(server: RunningServer) -> None:
    ask(server, "private", tracestate="vendor=secret", authorization="Bearer hunter2")
    line_of(server, "private")

    said = "\n".join(server.lines)
    assert str(PAYLOAD) not in said
    assert "hunter2" not in said
    assert "vendor=secret" not in said


def test_by_default_answered_requests_leave_no_line() -> None:
    with ready("--engine", "simulated") as quiet:
        assert ask(quiet, "unlogged").status_code == 200
        quiet.terminate()

        assert not [line for line in quiet.lines if "unlogged" in line]


def test_a_fetched_bundle_shows_its_seconds_and_its_size(tmp_path: Path) -> None:
    (tmp_path / "claim").mkdir()
    packed = tensor_bundle(tmp_path / "claim")
    bundle = fetch(
        Request(
            f"pvc://claim/{packed.relative_to(tmp_path / 'claim')}/", tmp_path / "model", pvc_root=tmp_path / "claim"
        )
    )
    with ready("--engine", "cpu", "--bundle", str(bundle.directory)) as server, server.client() as client:
        page = client.get("/metrics").text

        assert server.metric("neuron_model_artifact_bytes") == bundle.manifest.total_bytes
    assert "\nneuron_model_fetch_seconds " in page


def test_a_mounted_bundle_shows_its_size_alone(tmp_path: Path) -> None:
    with ready("--engine", "cpu", "--bundle", str(tensor_bundle(tmp_path))) as server, server.client() as client:
        page = client.get("/metrics").text

    assert "\nneuron_model_artifact_bytes " in page
    assert "\nneuron_model_fetch_seconds " not in page
