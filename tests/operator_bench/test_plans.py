"""What is run at which scale, and what is done to the children."""

import argparse

import pytest

from operator_bench.__main__ import parse, scale_of
from operator_bench.edits import Edit, every_edit, stands_as_rendered
from operator_bench.fields import IDENTITY, at, has_leaf, leaves, mutated, with_leaf
from operator_bench.figures import FIGURES
from operator_bench.models import COLLECTIONS, is_served, model, nodes_for
from operator_bench.rendering import NAME, OWNER, placeholders
from operator_bench.scale import BENCH, FULL, Size
from operator_bench.sightings import Sightings


@pytest.mark.parametrize("scale", [BENCH, FULL], ids=lambda scale: scale.name)
def test_a_scale_names_figures_that_there_are(scale: argparse.Namespace) -> None:
    for size in scale.sizes:
        assert set(size.figures) | set(size.once) <= set(FIGURES)


def test_both_scales_together_take_every_figure() -> None:
    taken = {figure for size in (*BENCH.sizes, *FULL.sizes) for figure in (*size.figures, *size.once)}
    assert taken == set(FIGURES)


def test_what_is_taken_once_is_taken_in_the_last_run() -> None:
    size = Size(10, 3, ("cpu",), once=("steady",))
    assert [size.figures_of(run) for run in range(3)] == [("cpu",), ("cpu",), ("cpu", "steady")]


def test_named_figures_are_taken_alone_where_they_are_taken_at_all() -> None:
    assert [(size.models, size.figures) for size in BENCH.only(["leader"]).sizes] == [(200, ("leader",))]


def test_sizes_by_hand_take_every_figure() -> None:
    scale = scale_of(parse(["--models", "20,40", "--runs", "2"]))
    assert [(size.models, size.runs) for size in scale.sizes] == [(20, 2), (40, 2)]
    assert set(scale.sizes[0].figures_of(1)) == set(FIGURES)


@pytest.mark.parametrize(
    ("argv", "told"),
    [
        pytest.param(["speed"], "there is no figure 'speed'", id="unknown figure"),
        pytest.param(["--models", "many"], "'many' is not a list of numbers", id="no numbers"),
        pytest.param(["--models", "0"], "at least one model", id="none"),
        pytest.param(["--runs", "3"], "goes with --models", id="runs alone"),
        pytest.param(["--full", "--models", "5"], "not allowed with", id="two sizes"),
    ],
)
def test_a_bad_command_line_says_what_is_wrong(argv: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parse(argv)
    assert told in capsys.readouterr().err


@pytest.mark.parametrize(("models", "nodes"), [(1, 2), (24, 2), (25, 3), (1000, 43)])
def test_there_is_a_core_for_every_model_and_a_node_to_spare(models: int, nodes: int) -> None:
    assert nodes_for(models) == nodes


def test_the_floor_creates_what_the_operator_would() -> None:
    bodies = placeholders()
    assert {body["kind"] for body in bodies} == set(COLLECTIONS)
    for body in bodies:
        assert body["metadata"]["name"].startswith(NAME)
        assert body["metadata"]["ownerReferences"][0]["uid"] == OWNER


def test_every_rendered_field_is_edited_twice() -> None:
    edits = every_edit()
    assert len(set(edits)) == len(edits) >= 200
    assert {edit.path for edit in edits if edit.removes} == {edit.path for edit in edits if not edit.removes}
    assert not {edit.path for edit in edits} & IDENTITY


def test_an_edited_field_is_another_one_and_a_removed_one_is_gone() -> None:
    body = {"spec": {"ports": [{"port": 80, "protocol": "TCP"}], "publish": True}}
    for path in leaves(body):
        before = at(body, path)
        assert at(with_leaf(body, path, mutated(before)), path) not in (before, None)
        assert at(with_leaf(body, path, None), path) is None
    assert list(leaves(body)) == [("spec", "ports", 0, "port"), ("spec", "ports", 0, "protocol"), ("spec", "publish")]


def test_a_field_of_a_list_is_found_behind_what_somebody_added() -> None:
    path = ("ports", 0, "port")
    assert has_leaf(path, 80, {"ports": [{"port": 9}, {"port": 80}]})
    assert not has_leaf(path, 80, {"ports": [{"port": 9}]})
    assert not has_leaf(("replicas",), 2, {"replicas": 3})


@pytest.mark.parametrize(
    ("live", "stands"),
    [
        pytest.param([{"name": "a", "port": 1}], True, id="as rendered"),
        pytest.param([{"name": "a", "port": 2}], False, id="another value"),
        pytest.param([{"name": "ax", "port": 1}, {"name": "a", "port": 1}], False, id="another item in its place"),
        pytest.param([], False, id="gone"),
    ],
)
def test_a_field_is_edited_where_it_stands_as_rendered(live: list[object], stands: bool) -> None:
    edit = Edit("Service", ("ports", 0, "port"), removes=False)
    assert stands_as_rendered(edit, {"ports": live}, {"ports": [{"name": "a", "port": 1}]}) is stands


def seen(version: int, status: str, generation: int = 1) -> dict[str, object]:
    ready = {"type": "Ready", "status": status, "observedGeneration": 1}
    metadata = {"name": "model-0", "resourceVersion": str(version), "generation": generation}
    return {**model("model-0"), "metadata": metadata, "status": {"conditions": [ready]}}


def test_a_model_serves_when_its_status_is_of_the_newest_spec() -> None:
    assert is_served(seen(1, "True"))
    assert not is_served(seen(1, "True", generation=2))
    assert not is_served(seen(1, "False"))
    assert not is_served(model("model-0") | {"metadata": {"generation": 1}})


def test_only_what_comes_after_a_version_answers_an_edit() -> None:
    sightings = Sightings([seen(5, "False")], is_served)
    sightings.note("MODIFIED", seen(7, "True"))
    first = sightings.last_change_at
    sightings.note("MODIFIED", seen(9, "True"))
    assert sightings.wait_after("model-0", 5, is_served, timeout_s=0) == first
    assert sightings.wait_after("model-0", 9, is_served, timeout_s=0) is None


def test_a_set_is_there_when_the_last_of_it_is_and_not_when_one_has_gone() -> None:
    sightings = Sightings([seen(5, "True")], is_served)
    assert sightings.are_all({"model-0"})
    sightings.note("DELETED", seen(6, "True"))
    assert not sightings.are_all({"model-0"})
