"""traceparent to the letter of W3C Trace Context; anything else is no trace, and never an error."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_runtime.trace_context import SAMPLED_RANGE, TraceContext, parse_traceparent

TRACE, SPAN = b"4bf92f3577b34da6a3ce929d0e0e4736", b"00f067aa0ba902b7"
VALID = b"00-" + TRACE + b"-" + SPAN + b"-01"
PARSED = TraceContext(TRACE.decode(), SPAN.decode())


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(VALID, id="sampled"),
        pytest.param(VALID[:-2] + b"00", id="not-sampled"),
        pytest.param(VALID[:-2] + b"ff", id="flags-to-come"),
        pytest.param(b"01" + VALID[2:], id="later-version"),
        pytest.param(b"cc" + VALID[2:] + b"-what-the-future-will-be-like", id="later-version-with-more-fields"),
        pytest.param(b"cc" + VALID[2:] + b"-", id="later-version-with-a-dash"),
    ],
)
def test_valid_headers(header: bytes) -> None:
    assert parse_traceparent(header) == PARSED


@pytest.mark.parametrize(
    "header",
    [
        pytest.param(b"", id="empty"),
        pytest.param(b"00", id="version-alone"),
        pytest.param(VALID[:-1], id="short"),
        pytest.param(VALID + b"0", id="long"),
        pytest.param(VALID + b"-00", id="version-00-has-no-more-fields"),
        pytest.param(VALID + b"-", id="version-00-ends-after-the-flags"),
        pytest.param(b"01" + VALID[2:] + b".", id="later-version-without-a-dash"),
        pytest.param(b"ff" + VALID[2:], id="version-ff"),
        pytest.param(VALID.replace(TRACE, b"0" * 32), id="no-trace"),
        pytest.param(VALID.replace(SPAN, b"0" * 16), id="no-span"),
        pytest.param(VALID.upper(), id="uppercase"),
        pytest.param(b"0x" + VALID[2:], id="version-no-hex"),
        pytest.param(VALID.replace(TRACE, TRACE[:-1] + b"g"), id="trace-no-hex"),
        pytest.param(VALID.replace(b"-", b"_"), id="underscores"),
        pytest.param(b" " + VALID, id="leading-space"),
        pytest.param(VALID + b"\n", id="trailing-newline"),
        pytest.param(VALID + b"," + VALID, id="twice"),
    ],
)
def test_everything_else_is_no_trace(header: bytes) -> None:
    assert parse_traceparent(header) is None


@given(st.binary(max_size=80))
def test_no_header_raises(header: bytes) -> None:
    parse_traceparent(header)


@given(st.integers(1, 2**128 - 1))
def test_the_sampling_value_is_the_lower_half_of_the_trace_id(number: int) -> None:
    trace = TraceContext(f"{number:032x}", SPAN.decode())

    assert trace.sampling_value == number % SAMPLED_RANGE
