"""What a number means beside its target, and how it reads."""

import pytest

from bench import table
from bench.findings import SHARE, Finding, Target, from_json, ratios, to_json
from bench.results import updated

AT_LEAST = Target("at least", 0.97)
AT_MOST = Target("at most", 3.5)


def finding(*runs: float, target: Target | None = None, figure: str = "cpu", void: str = "") -> Finding:
    return Finding(figure, "over the echo", "times", runs, target, void=void)


@pytest.mark.parametrize(
    ("found", "verdict"),
    [
        pytest.param(finding(0.9, 0.98, 0.99, target=AT_LEAST), "met", id="the median counts, not the worst"),
        pytest.param(finding(0.9, 0.96, 0.99, target=AT_LEAST), "not met", id="below what it must reach"),
        pytest.param(finding(3.5, target=AT_MOST), "met", id="a bound itself is allowed"),
        pytest.param(finding(3.6, target=AT_MOST), "not met", id="above what it may cost"),
        pytest.param(finding(1.0), "", id="nothing was asked for"),
        pytest.param(finding(0.99, target=AT_LEAST, void="the generator was late"), "void", id="void is never met"),
    ],
)
def test_verdict(found: Finding, verdict: str) -> None:
    assert found.verdict == verdict


def test_ratios_are_taken_within_each_run() -> None:
    assert ratios([10.0, 30.0], [10.0, 20.0]) == (1.0, 1.5)


def test_a_finding_survives_being_written() -> None:
    found = finding(1.0, 2.0, target=AT_MOST, void="late")

    assert from_json(to_json(found)) == found


def test_a_figure_measured_again_replaces_only_its_own_rows() -> None:
    old = [finding(1.0, figure="headline"), finding(2.0, figure="cpu")]

    before = updated(None, {}, "full", old)

    now = updated(before, {}, "bench", [finding(3.0, figure="cpu")])

    assert now.findings == (old[0], finding(3.0, figure="cpu"))
    assert now.scales == {"headline": "full", "cpu": "bench"}


def test_the_table_shows_target_spread_and_why_a_row_is_void() -> None:
    shown = table.terminal([finding(3.0, 4.0, 5.0, target=AT_MOST, void="the generator was late")])

    assert "4 times" in shown
    assert "3 … 5" in shown
    assert "≤ 3.5" in shown
    assert shown.endswith("cpu: over the echo: the generator was late")


def test_markdown_has_a_row_for_every_finding() -> None:
    lines = table.markdown([finding(1234.5), finding(0.9712, target=AT_LEAST)]).splitlines()

    assert lines[2] == "| over the echo | 1,234 times |  |  |  |"
    assert lines[3] == "| over the echo | 0.971 times |  | ≥ 0.97 | met |"


def test_what_holds_for_several_rows_is_said_once() -> None:
    shown = table.terminal([finding(1.0, void="late")] * 4 + [finding(2.0)])

    assert shown.endswith("cpu: 4 of 5 rows: late")
    assert shown.count("late") == 1


def test_shares_are_shown_in_percent() -> None:
    shown = table.markdown([Finding("headline", "of the limit", SHARE, (0.981, 0.9, 0.962), AT_LEAST)])

    assert "| of the limit | 96.2% | 90% … 98.1% | ≥ 97% | not met |" in shown


def test_the_summary_holds_what_has_a_target() -> None:
    shown = table.summary([finding(1.0), finding(2.0, target=AT_MOST)])

    assert shown.splitlines()[2:] == ["| cpu | over the echo | 2 times |  | ≤ 3.5 | met |"]
