"""The caller's trace, from its `traceparent` header (W3C Trace Context, section 3.2). Pure.

For logs only: this server opens no span, so the span it names is the caller's. The header is one of requests; the
recommendation has no place for it in a reply, and none is sent.
"""

import re
from dataclasses import dataclass

HEADER = b"traceparent"
SAMPLED_RANGE = 1 << 64

# Versions after 00 may add fields after a dash; what 00 has stays where it is. ff is not a version.
_TRACEPARENT = re.compile(rb"(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.DOTALL)
_NO_TRACE, _NO_SPAN = b"0" * 32, b"0" * 16


@dataclass(frozen=True)
class TraceContext:
    """Ids in lowercase hexadecimal digits: 32 of the trace, 16 of the caller's span."""

    trace_id: str
    span_id: str

    @property
    def sampling_value(self) -> int:
        """Below the ratio of SAMPLED_RANGE for the traces that are kept: OpenTelemetry's TraceIdRatioBased, so that
        everyone who samples by the same ratio keeps the same traces."""
        return int(self.trace_id[16:], 16)


def parse_traceparent(header: bytes) -> TraceContext | None:
    """None for anything that is not valid to the letter: the request then simply has no trace."""
    match = _TRACEPARENT.fullmatch(header)
    if match is None:
        return None
    version, trace, span, _, more = match.groups()
    if trace == _NO_TRACE or span == _NO_SPAN or (version == b"00" and more is not None):
        return None
    return TraceContext(trace.decode(), span.decode())
