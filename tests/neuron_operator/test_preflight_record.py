"""A failure counts once it lasted; everything else counts at once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_operator.preflight.checks import Check, Finding, Outcome
from neuron_operator.preflight.record import CONFIRMED_AFTER_S, Record

WAIT = CONFIRMED_AFTER_S
PLUGIN = Check.DEVICE_PLUGIN


def finding(outcome: str, *nodes: str, check: Check = PLUGIN) -> Finding:
    return Finding(check, Outcome(outcome), "words", nodes=nodes)


def told(record: Record, moment: float, outcome: str, *nodes: str) -> list[str]:
    return [
        f"{news.outcome} {' '.join(news.nodes)}".strip() for news in record.take([finding(outcome, *nodes)], moment)
    ]


@pytest.mark.parametrize("outcome", ["pass", "unknown"])
def test_what_does_not_fail_counts_at_once_and_is_told_once(outcome: str) -> None:
    record = Record()
    assert told(record, 0, outcome) == [outcome]
    assert told(record, 1, outcome) == []


def test_a_failure_counts_when_it_lasted_and_a_recovery_at_once() -> None:
    record = Record()
    assert told(record, 0, "pass") == ["pass"]
    assert told(record, 1, "fail", "n1") == []
    assert record.standing[PLUGIN].outcome == "pass"
    assert record.next_look_s(11) == WAIT - 10
    assert told(record, WAIT, "fail", "n1") == []
    assert told(record, WAIT + 1, "fail", "n1") == ["fail n1"]
    assert record.next_look_s(WAIT + 1) is None
    assert told(record, WAIT + 2, "pass") == ["pass"]
    assert told(record, WAIT + 3, "fail", "n1") == []


def test_a_failure_without_a_node_waits_too() -> None:
    record = Record()
    assert told(record, 0, "fail") == []
    assert told(record, WAIT, "fail") == ["fail"]


def test_nodes_that_come_one_after_the_other_make_no_failure_together() -> None:
    record = Record()
    for boot in range(10):
        assert told(record, boot * WAIT / 2, "fail", f"n{boot}", f"n{boot + 1}") == []


def test_only_nodes_that_failed_long_enough_are_named() -> None:
    record = Record()
    told(record, 0, "fail", "n1")
    assert told(record, WAIT, "fail", "n1", "n2") == ["fail n1"]
    assert record.take([finding("fail", "n1", "n2")], 2 * WAIT) == (), "more nodes are no transition"
    assert record.standing[PLUGIN].nodes == ("n1", "n2")


def test_a_failure_stands_while_another_node_takes_it_over() -> None:
    record = Record()
    told(record, 0, "fail", "n1")
    told(record, WAIT, "fail", "n1")
    assert told(record, WAIT + 1, "fail", "n2") == []
    assert record.standing[PLUGIN].nodes == ("n1",)
    assert told(record, WAIT + 2, "pass") == ["pass"]


@given(st.lists(st.tuples(st.integers(1, 90), st.sampled_from(["pass", "fail", "unknown"])), max_size=30))
def test_two_transitions_in_a_row_are_never_the_same_and_no_failure_is_younger_than_asked(
    steps: list[tuple[int, str]],
) -> None:
    record, now, since, before = Record(), 0, None, ""
    for later, outcome in steps:
        now += later
        since = (now if since is None else since) if outcome == "fail" else None
        for news in told(record, now, outcome):
            assert news != before
            before = news
            assert news != "fail" or (since is not None and now - since >= WAIT)
        assert outcome == "fail" or before == outcome
        waits = record.next_look_s(now)
        assert waits is None or 0 < waits <= WAIT
