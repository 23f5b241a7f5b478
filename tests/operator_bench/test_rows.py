"""Rows of single runs: put together, kept, and shown beside what others take."""

import math
from pathlib import Path

import pytest

from bench.errors import BenchError
from bench.findings import Finding, Target
from operator_bench import document, results, table
from operator_bench.figures import FIGURES, load
from operator_bench.peers import OF_ANY_SIZE, PEERS, beside
from operator_bench.quantiles import percentile
from operator_bench.results import Results

RATIO = Target("at most", 1.15)


def ratio(value: float, note: str = "", models: str = "200") -> Finding:
    return Finding("creation", f"{models} models: last child, over the floor", "times", (value,), RATIO, note)


@pytest.mark.parametrize("name", list(FIGURES))
def test_every_figure_has_its_module(name: str) -> None:
    assert callable(load(name))


def test_runs_of_a_row_become_one_and_its_median_is_judged() -> None:
    (row,) = results.gathered([ratio(1.0), ratio(1.4, "late"), ratio(1.1)])
    assert (row.runs, row.measured, row.verdict, row.note) == ((1.0, 1.4, 1.1), 1.1, "met", "late")


def test_rows_of_another_size_stay_apart_and_in_order() -> None:
    rows = results.gathered([ratio(1.0), ratio(2.0, models="1,000"), ratio(1.1)])
    assert [row.runs for row in rows] == [(1.0, 1.1), (2.0,)]


def test_a_row_measured_again_replaces_the_one_of_its_name_alone() -> None:
    old = Results({"machine": "old"}, (ratio(1.0), ratio(2.0, models="1,000")))
    new = results.updated(old, {"machine": "new"}, [ratio(1.1)])
    assert new == Results({"machine": "new"}, (ratio(2.0, models="1,000"), ratio(1.1)))


def test_results_survive_being_kept(tmp_path: Path) -> None:
    path, kept = tmp_path / "kept" / "results.json", Results({"machine": "2 x a CPU"}, (ratio(1.2, "why"),))
    assert results.load(path) is None
    results.save(path, kept)
    assert results.load(path) == kept


def test_what_others_take_stands_beside_the_row() -> None:
    assert "KServe 30 s" in beside("200 models: until the last child exists")
    assert beside("40 models: until the last child exists") == ""
    assert "KServe 21.9 s" in beside("1,000 models: leader killed: the other acts")


@pytest.mark.parametrize("name", [*PEERS, *OF_ANY_SIZE])
def test_every_row_that_others_stand_beside_is_one_that_is_measured(name: str) -> None:
    """A row that is called otherwise by now would silently lose them."""
    folder = Path(table.__file__).parent / "figures"
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    words = name.rpartition(" models: ")[2].removesuffix(", p99").split(": ")[-1]
    assert words.rpartition(", ")[2].split(" for one")[0] in source


def test_the_document_has_a_table_with_target_runs_and_others() -> None:
    kept = Results({"machine": "2 x a CPU"}, results.gathered([ratio(1.0), ratio(1.3), ratio(1.2, "busy")]))
    written = document.section(kept)
    assert "- machine: 2 x a CPU" in written
    assert "| 200 models: last child, over the floor | ≤ 1.15 | 1.2 times | 1 … 1.3 | not met |  |" in written
    assert "- 200 models: last child, over the floor: busy" in written


def test_small_sizes_come_first_in_the_document() -> None:
    kept = Results({}, (ratio(1.0, models="1,000"), ratio(1.0, models="200")))
    rows = [line for line in document.section(kept).splitlines() if "models: last" in line]
    assert [row.split()[1] for row in rows] == ["200", "1,000"]


def test_only_what_lies_between_the_marks_is_replaced() -> None:
    page = f"before\n{document.BEGIN}\nold\n{document.END}\nafter\n"
    assert document.replaced(page, "new") == f"before\n{document.BEGIN}\n\nnew\n\n{document.END}\nafter\n"
    with pytest.raises(BenchError, match="lacks its marks"):
        document.replaced("a page", "new")


def test_the_page_of_this_repository_has_the_marks() -> None:
    assert "results here" in document.replaced(document.PAGE.read_text(), "results here")


@pytest.mark.parametrize(
    ("values", "percent", "expected"),
    [
        pytest.param(list(range(1, 101)), 99, 99, id="of a hundred the 99th"),
        pytest.param([3.0, 1.0, 2.0], 99, 3.0, id="of a few the greatest"),
        pytest.param([3.0, 1.0, 2.0], 50, 2.0, id="the median"),
        pytest.param([7.0], 50, 7.0, id="of one itself"),
    ],
)
def test_percentiles_are_values_that_were_seen(values: list[float], percent: float, expected: float) -> None:
    assert percentile(values, percent) == expected


def test_there_is_no_percentile_of_nothing() -> None:
    assert math.isnan(percentile([], 99))
