"""Which answered requests are logged, and what one line says. Called by the task endpoints; never sees a payload.

A share of the requests is drawn by their trace, or by their id where they have none: nobody's clock or random numbers
decide, and services that sample by the same ratio log the same traces. The caller's `sampled` flag is not followed,
because it would let any client choose how much this server writes.
"""

import logging
import zlib
from collections.abc import Mapping
from dataclasses import dataclass

from neuron_runtime.trace_context import HEADER, SAMPLED_RANGE, parse_traceparent

log = logging.getLogger("neuron_runtime.access")

Headers = Mapping[bytes, bytes]
_CHECKSUM_RANGE = 1 << 32


@dataclass(frozen=True)
class AccessRecord:
    """One exchange. Seconds are None, and rows 0, where the request did not come so far."""

    api: str
    code: int
    total_seconds: float
    rows: int = 0
    queue_seconds: float | None = None
    batch_wait_seconds: float | None = None
    device_seconds: float | None = None


class AccessLog:
    """`ratio` is the share of requests to log, 0 to 1."""

    def __init__(self, ratio: float) -> None:
        self._ratio = ratio
        self._trace_bound = round(ratio * SAMPLED_RANGE)
        self._id_bound = round(ratio * _CHECKSUM_RANGE)

    def wants(self, request_id: bytes, headers: Headers) -> bool:
        """Asked for every request, so that a record is only made of those that are logged."""
        if not self._id_bound:
            return False
        if HEADER in headers:
            trace = parse_traceparent(headers[HEADER])
            if trace is not None:
                return trace.sampling_value < self._trace_bound
        return zlib.crc32(request_id) < self._id_bound

    def write(self, request_id: bytes, headers: Headers, record: AccessRecord) -> None:
        facts: dict[str, object] = {
            "requestId": request_id.decode("latin-1"),
            "api": record.api,
            "code": record.code,
            **_known("queueSeconds", record.queue_seconds),
            **_known("batchWaitSeconds", record.batch_wait_seconds),
            **_known("deviceSeconds", record.device_seconds),
            **_known("totalSeconds", record.total_seconds),
            "rows": record.rows,
            **_size(headers),
            **trace_facts(headers),
        }
        log.info("request", extra=facts)


def trace_facts(headers: Headers) -> dict[str, str]:
    """What ties a line to the caller's trace, for any line about a request; empty without a valid header."""
    trace = parse_traceparent(headers.get(HEADER, b""))
    return {"traceId": trace.trace_id, "spanId": trace.span_id} if trace else {}


def _known(name: str, seconds: float | None) -> dict[str, float]:
    return {} if seconds is None else {name: round(seconds, 6)}


def _size(headers: Headers) -> dict[str, int]:
    """As declared; a chunked body declares nothing."""
    declared = headers.get(b"content-length", b"")
    return {"bytesIn": int(declared)} if declared.isdigit() else {}
