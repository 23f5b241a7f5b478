"""Reading across failures: continued where it broke, given up in time, in the right words."""

from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_runtime.fetching.streams import OpenedObject, Patience, TransientError, read
from neuron_runtime.termination import FatalError, Reason

CONTENT = bytes(range(256)) * 4


class FlakySource:
    """Each opening gives at most the next of `lengths` bytes, then breaks; afterwards everything."""

    def __init__(self, lengths: list[int], ranges: bool = True, raises: bool = True) -> None:
        self.lengths = lengths
        self.ranges = ranges
        self.raises = raises
        self.offsets: list[int] = []

    def shown(self, relative: str) -> str:
        return f"test://{relative}"

    @contextmanager
    def open(self, relative: str, offset: int) -> Iterator[OpenedObject]:
        self.offsets.append(offset)
        start = offset if self.ranges else 0
        yield OpenedObject(self._chunks(start), start, len(CONTENT))

    def _chunks(self, start: int) -> Iterator[bytes]:
        breaks = bool(self.lengths)
        end = start + self.lengths.pop(0) if breaks else len(CONTENT)
        for place in range(start, end, 100):
            yield CONTENT[place : min(place + 100, end)]
        if breaks and self.raises:
            raise TransientError("reset by peer")

    def close(self) -> None:
        pass


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.waits: list[float] = []

    def sleep(self, seconds: float) -> None:
        self.waits.append(seconds)
        self.now += seconds

    def patience(self, timeout_seconds: float = 1000.0) -> Patience:
        return Patience(timeout_seconds, sleep=self.sleep, clock=lambda: self.now)


@given(
    lengths=st.lists(st.integers(0, 300), max_size=5),
    offset=st.integers(0, len(CONTENT) - 1),
    ranges=st.booleans(),
    raises=st.booleans(),
)
def test_every_byte_arrives_once_and_in_order_however_it_breaks(
    lengths: list[int], offset: int, ranges: bool, raises: bool
) -> None:
    source = FlakySource(list(lengths), ranges, raises)
    assert b"".join(read(source, "x", offset, Clock().patience())) == CONTENT[offset:]


def test_reading_goes_on_where_it_broke() -> None:
    source = FlakySource([250, 100])
    assert b"".join(read(source, "x", 0, Clock().patience())) == CONTENT
    assert source.offsets == [0, 250, 350]


def test_failures_in_a_row_end_it_with_waits_that_grow() -> None:
    clock = Clock()
    with pytest.raises(FatalError, match=r"test://x cannot be read: reset by peer \(6 tries in a row\)") as caught:
        list(read(FlakySource([0] * 99), "x", 0, clock.patience()))
    assert caught.value.reason is Reason.ARTIFACT_UNREACHABLE
    assert len(clock.waits) == 5
    assert all(0.5 * 2**tries <= wait <= 2.0**tries for tries, wait in enumerate(clock.waits))


def test_progress_forgives_earlier_failures() -> None:
    assert b"".join(read(FlakySource([1] * 20), "x", 0, Clock().patience())) == CONTENT


def test_the_deadline_ends_it_even_if_each_try_brings_something() -> None:
    clock = Clock()
    with pytest.raises(FatalError, match="did not arrive within 5 seconds") as caught:
        list(read(FlakySource([1] * 500), "x", 0, clock.patience(5.0)))
    assert caught.value.reason is Reason.ARTIFACT_UNREACHABLE
    assert clock.now <= 5.0


def test_the_server_says_how_long_to_wait() -> None:
    clock = Clock()
    clock.patience().wait_after(TransientError("busy", retry_after_seconds=33.0), "test://x")
    assert clock.waits == [33.0]
