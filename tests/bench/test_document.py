"""What is written into docs/benchmarks.md from the findings, and what is left alone."""

from pathlib import Path
from xml.etree import ElementTree

import pytest

from bench import document, plot
from bench.errors import BenchError
from bench.findings import SHARE as UNIT
from bench.findings import Finding, Target
from bench.results import Results, load, save

SHARE = Finding("headline", "share of the limit", UNIT, (0.98, 0.97, 0.99), Target("at least", 0.97))
PEER = Finding("peers", "MLServer: share of the limit", "", (0.18,))
OURS_BESIDE = Finding("peers", "this runtime beside MLServer: share of the limit", "", (0.98,))
VOID = Finding("peers", "LitServe: share of the limit", "", (0.9,), void="it was not ready")
RESULTS = Results({"machine": "2 x a CPU"}, {"headline": "bench", "peers": "bench"}, (SHARE, PEER, OURS_BESIDE, VOID))
PAGE = f"before\n{document.BEGIN}\nold\n{document.END}\nafter\n"


def test_only_what_lies_between_the_marks_is_replaced(tmp_path: Path) -> None:
    page, drawing = tmp_path / "benchmarks.md", tmp_path / "benchmarks.svg"
    page.write_text(PAGE)

    document.write(RESULTS, page, drawing)

    written = page.read_text()
    assert written.startswith(f"before\n{document.BEGIN}\n")
    assert written.endswith(f"{document.END}\nafter\n")
    assert "old" not in written
    assert "| headline | share of the limit | 98% | 97% … 99% | ≥ 97% | met |" in written
    assert ElementTree.parse(drawing).getroot().tag.endswith("svg")


def test_writing_twice_changes_nothing(tmp_path: Path) -> None:
    page, drawing = tmp_path / "benchmarks.md", tmp_path / "benchmarks.svg"
    page.write_text(PAGE)
    document.write(RESULTS, page, drawing)
    once = page.read_text()

    document.write(RESULTS, page, drawing)

    assert page.read_text() == once


def test_a_page_without_marks_is_left_alone() -> None:
    with pytest.raises(BenchError, match="lacks its marks"):
        document.replaced("a page", "results")


def test_the_page_of_this_repository_has_the_marks() -> None:
    assert "results here" in document.replaced(document.PAGE.read_text(), "results here")


def test_the_plot_shows_us_and_each_other_server_but_nothing_void() -> None:
    (chart,) = document.charts_of(RESULTS.findings)

    assert [(bar.label, bar.is_ours) for bar in chart.bars] == [("this runtime", True), ("MLServer", False)]


def test_labels_cannot_break_the_plot() -> None:
    drawn = plot.svg([plot.Chart("a <b> & c", (plot.Bar('"x" < y', 0.5),))])

    texts = [element.text for element in ElementTree.fromstring(drawn).iter() if element.text]
    assert "a <b> & c" in texts
    assert '"x" < y' in texts


def test_results_survive_being_kept(tmp_path: Path) -> None:
    path = tmp_path / "kept" / "benchmarks.json"

    assert load(path) is None
    save(path, RESULTS)
    assert load(path) == RESULTS
