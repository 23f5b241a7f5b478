"""Each rule of the policy as a case, and what must hold for every queue."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from neuron_runtime.batch_policy import (
    LONGEST_GAP_SECONDS,
    NO_ROOM,
    NOT_FULL,
    NOTHING_WAITS,
    Buckets,
    Decision,
    Limits,
    Take,
    Wait,
    decide,
    decide_alone,
)
from neuron_runtime.buckets import Form

SMALL = Form(((32,),), ((1, 0), (8, 1)))
LARGE = Form(((128,),), ((4, 2),))
BUCKETS = Buckets((SMALL, LARGE), [0.001, 0.002, 0.004])
BOTH, ONLY_LARGE = 0b11, 0b10
SIZES = {bucket: size for form in BUCKETS.forms for size, bucket in form.programs}


@dataclass(frozen=True)
class Request:
    name: str
    rows_waiting: int = 1
    fits: int = BOTH
    arrived_at: float = 0.0


@dataclass(frozen=True)
class Cores:
    idle: int = 2
    prefetching: int = 0


IDLE, LAST_IDLE, BUSY, FULL = Cores(), Cores(idle=1), Cores(idle=0, prefetching=2), Cores(idle=0)
NEVER_WAIT = Limits(0.0)


def choose(queue: list[Request], cores: Cores = IDLE, buckets: Buckets = BUCKETS) -> Decision[Request]:
    return decide(queue, 0.0, cores, buckets, NEVER_WAIT)


def taken(choice: Decision[Request]) -> tuple[int, list[str]]:
    assert isinstance(choice, Take)
    return choice.bucket, [f"{request.name}{rows}" for request, rows in choice.picks]


@pytest.mark.parametrize(
    ("queue", "expected"),
    [
        pytest.param([Request("a")], (0, ["a1"]), id="a lone request takes the cheapest bucket"),
        pytest.param([Request("a"), Request("b")], (0, ["a1"]), id="at equal cost per row the smaller bucket wins"),
        pytest.param(
            [Request("a"), Request("b"), Request("c")], (1, ["a1", "b1", "c1"]), id="three are cheaper together"
        ),
        pytest.param([Request("a", 20)], (1, ["a8"]), id="too many rows are split"),
        pytest.param([Request("a", 6), Request("b", 6)], (1, ["a6", "b2"]), id="the second fills what is left"),
        pytest.param([Request("a", 1, ONLY_LARGE), Request("b")], (2, ["a1", "b1"]), id="a short one rides along"),
        pytest.param(
            [Request("a", 3), Request("b", 1, ONLY_LARGE), Request("c")], (1, ["a3", "c1"]), id="a misfit stays"
        ),
        pytest.param([Request("a", 0), Request("b")], (0, ["b1"]), id="who has left is passed over"),
    ],
)
def test_an_idle_core_takes(queue: list[Request], expected: tuple[int, list[str]]) -> None:
    assert taken(choose(queue)) == expected


def test_the_larger_form_is_taken_when_the_company_makes_it_cheaper() -> None:
    queue = [Request("a"), *[Request(name, 1, ONLY_LARGE) for name in "bcd"]]
    cheap_large = Buckets(BUCKETS.forms, [0.001, 0.008, 0.002])

    assert taken(choose(queue)) == (0, ["a1"])
    assert taken(choose(queue, buckets=cheap_large)) == (2, ["a1", "b1", "c1", "d1"])


def test_a_busy_core_takes_only_a_full_batch() -> None:
    assert choose([Request("a", 7)], BUSY) is NOT_FULL
    assert taken(choose([Request("a", 8)], BUSY)) == (1, ["a8"])


def test_nothing_is_done_without_room_or_without_rows() -> None:
    assert choose([Request("a", 8)], FULL) is NO_ROOM
    assert choose([]) is NOTHING_WAITS
    assert choose([Request("a", 0)]) is NOTHING_WAITS


def at_pace(gap_seconds: float, window_seconds: float = 0.001) -> Limits:
    return Limits(window_seconds, gap_seconds)


# One bucket of 8 rows and 2 ms. Three rows wait since 0; five are missing; a full batch would save them 1.25 ms.
@pytest.mark.parametrize(
    ("cores", "limits", "now", "until"),
    [
        pytest.param(LAST_IDLE, at_pace(0.0001), 0.0, 0.001, id="waits for the window while rows come fast"),
        pytest.param(LAST_IDLE, at_pace(0.0001, 0.5), 0.0, 0.00125, id="never longer than a full batch saves"),
        pytest.param(LAST_IDLE, at_pace(0.0001), 0.0006, None, id="not when the window would close before"),
        pytest.param(LAST_IDLE, at_pace(0.0003), 0.0, None, id="not when rows come slowly"),
        pytest.param(LAST_IDLE, at_pace(0.0001, 0.0), 0.0, None, id="not without a window"),
        pytest.param(IDLE, at_pace(0.0001), 0.0, None, id="not while another core is idle"),
        pytest.param(LAST_IDLE, at_pace(LONGEST_GAP_SECONDS), 0.0, None, id="not for a lone client"),
    ],
)
def test_the_last_idle_core_waits_only_while_it_pays(
    cores: Cores, limits: Limits, now: float, until: float | None
) -> None:
    buckets = Buckets((Form(((16,),), ((8, 0),)),), [0.002])
    choice = decide([Request("a", 3, 1)], now, cores, buckets, limits)

    if until is None:
        assert taken(choice) == (0, ["a3"])
    else:
        assert isinstance(choice, Wait)
        assert choice.until == pytest.approx(until)


def test_the_pace_follows_arrivals_and_forgets_a_quiet_night() -> None:
    limits = Limits(0.001)
    now = 100.0
    for _ in range(100):
        now += 0.0002
        limits.arrived(now, 1)
    assert limits.row_gap_seconds == pytest.approx(0.0002, rel=0.01)

    limits.arrived(now + 3600, 1)
    assert limits.row_gap_seconds < LONGEST_GAP_SECONDS


def test_rows_that_come_together_share_their_gap() -> None:
    one, four = Limits(0.001, 0.0, 0.0), Limits(0.001, 0.0, 0.0)
    one.arrived(0.004, 1)
    four.arrived(0.004, 4)

    assert four.row_gap_seconds == pytest.approx(one.row_gap_seconds / 4)


def test_a_suspect_is_taken_alone_in_the_smallest_form_that_holds_it() -> None:
    assert taken(decide_alone(Request("a", 9), BUCKETS)) == (1, ["a8"])
    assert taken(decide_alone(Request("a", 1, ONLY_LARGE), BUCKETS)) == (2, ["a1"])


requests = st.builds(Request, st.just("r"), st.integers(0, 30), st.sampled_from([BOTH, ONLY_LARGE]))
seconds = st.floats(0.0001, 0.1)
times = st.lists(seconds, min_size=3, max_size=3).map(lambda found: Buckets(BUCKETS.forms, found))
rooms = st.builds(Cores, st.integers(0, 2), st.integers(0, 2))


@settings(max_examples=150)
@given(st.lists(requests, max_size=20), rooms, times, st.builds(Limits, st.floats(0, 0.01), st.floats(0, 0.01)))
def test_every_batch_fits_its_bucket_and_has_the_oldest_on_board(
    queue: list[Request], cores: Cores, buckets: Buckets, limits: Limits
) -> None:
    choice = decide(queue, 0.0, cores, buckets, limits)
    waiting = [request for request in queue if request.rows_waiting]
    if not isinstance(choice, Take):
        assert not waiting or not cores.idle or isinstance(choice, Wait), "an idle core never idles without a reason"
        return
    rows = sum(rows for _, rows in choice.picks)
    assert 0 < rows <= SIZES[choice.bucket]
    assert choice.picks[0][0] is waiting[0]
    assert all(0 < count <= request.rows_waiting for request, count in choice.picks)
    assert all(request.fits >> choice.form & 1 for request, _ in choice.picks)
    assert cores.idle or rows == SIZES[choice.bucket]


@settings(max_examples=50)
@given(st.lists(requests, min_size=1, max_size=12), times)
def test_nobody_waits_for_more_batches_than_rows_ahead(queue: list[Request], buckets: Buckets) -> None:
    """Everybody keeps coming behind: the last of the first comers is still served within its bound."""
    waiting = [Waiter(request) for request in queue if request.rows_waiting]
    latest = waiting[-1] if waiting else None
    bound = sum(waiter.rows_waiting for waiter in waiting)
    batches = 0
    while latest is not None and latest.rows_waiting:
        waiting += [Waiter(Request("newcomer", 30)) for _ in range(3)]
        choice = decide(waiting, 0.0, IDLE, buckets, NEVER_WAIT)
        assert isinstance(choice, Take)
        for waiter, rows in choice.picks:
            waiter.rows_waiting -= rows
        batches += 1
    assert batches <= bound


@dataclass
class Waiter:
    request: Request
    rows_waiting: int = field(init=False)
    arrived_at: float = 0.0

    def __post_init__(self) -> None:
        self.rows_waiting = self.request.rows_waiting

    @property
    def fits(self) -> int:
        return self.request.fits
