"""Which requests are drawn, and what a line holds."""

import json
import logging

import pytest

from neuron_runtime.access_log import AccessLog, AccessRecord, trace_facts
from neuron_runtime.logs import JsonFormatter

SPAN = b"00f067aa0ba902b7"
RECORD = AccessRecord("infer", 200, 0.0125, 3, 0.001, 0.0005, 0.0098765432)


def traced(number: int) -> dict[bytes, bytes]:
    return {b"traceparent": f"00-{number:032x}-{SPAN.decode()}-01".encode()}


def written(caplog: pytest.LogCaptureFixture, headers: dict[bytes, bytes], record: AccessRecord = RECORD) -> object:
    with caplog.at_level(logging.INFO, "neuron_runtime.access"):
        AccessLog(1.0).write(b"id-1", headers, record)
    line = json.loads(JsonFormatter().format(caplog.records[-1]))
    return {key: value for key, value in line.items() if key not in {"time", "level", "logger", "message"}}


@pytest.mark.parametrize("headers", [{}, traced(1), traced(2**128 - 1), {b"traceparent": b"no trace"}])
def test_none_and_all(headers: dict[bytes, bytes]) -> None:
    assert not AccessLog(0.0).wants(b"id", headers)
    assert AccessLog(1.0).wants(b"id", headers)


@pytest.mark.parametrize("ratio", [0.01, 0.1, 0.5])
def test_the_share_of_requests_without_a_trace_is_the_ratio(ratio: float) -> None:
    log = AccessLog(ratio)
    drawn = sum(log.wants(f"3f2a9c01d4e7-{number}".encode(), {}) for number in range(20_000))

    assert drawn / 20_000 == pytest.approx(ratio, rel=0.15)


def test_traces_are_drawn_as_by_opentelemetrys_ratio_sampler() -> None:
    log = AccessLog(0.25)

    assert log.wants(b"id", traced(2**62 - 1))
    assert not log.wants(b"id", traced(2**62))
    # Only the lower half of the id counts.
    assert log.wants(b"id", traced((7 << 64) + 5))


def test_all_requests_of_a_trace_are_drawn_or_none() -> None:
    log = AccessLog(0.5)

    assert {log.wants(f"{number}".encode(), traced(11)) for number in range(100)} == {True}
    assert {log.wants(f"{number}".encode(), traced(2**64 - 11)) for number in range(100)} == {False}


def test_an_invalid_trace_leaves_the_request_id_to_decide() -> None:
    log = AccessLog(0.5)
    broken = {b"traceparent": b"00-zz"}

    assert [log.wants(f"{n}".encode(), broken) for n in range(64)] == [
        log.wants(f"{n}".encode(), {}) for n in range(64)
    ]


def test_a_line_has_the_times_the_size_and_the_trace(caplog: pytest.LogCaptureFixture) -> None:
    headers = traced(0xAB) | {b"content-length": b"77", b"authorization": b"secret"}

    assert written(caplog, headers) == {
        "requestId": "id-1",
        "api": "infer",
        "code": 200,
        "queueSeconds": 0.001,
        "batchWaitSeconds": 0.0005,
        "deviceSeconds": 0.009877,
        "totalSeconds": 0.0125,
        "rows": 3,
        "bytesIn": 77,
        "traceId": "000000000000000000000000000000ab",
        "spanId": "00f067aa0ba902b7",
    }


def test_a_refusal_has_only_what_is_known(caplog: pytest.LogCaptureFixture) -> None:
    record = AccessRecord("predict", 429, 0.0002)

    assert written(caplog, {b"content-length": b"-1", b"traceparent": b"?"}, record) == {
        "requestId": "id-1",
        "api": "predict",
        "code": 429,
        "totalSeconds": 0.0002,
        "rows": 0,
    }


def test_other_lines_can_name_the_trace() -> None:
    assert trace_facts(traced(0xAB)) == {"traceId": f"{0xAB:032x}", "spanId": SPAN.decode()}
    assert trace_facts({}) == {}
