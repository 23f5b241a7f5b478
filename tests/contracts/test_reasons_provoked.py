"""No reason is only a word: each is provoked on the real cluster, or on a real API server where that is enough."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from neuron_operator.api.conditions import Reason

TESTS = Path(__file__).parents[1]
# Their tests go through tables of cases, whose first word is the reason.
TABLES = ("e2e/test_reasons.py", "integration/test_operator_reasons.py")
# Of these no kubelet, no silicon and no scheduler that the cluster has knows anything.
ON_AN_API_SERVER = {
    Reason.CHILD_CONFLICT: "integration/test_operator_conflicts.py::"
    "test_a_field_that_is_taken_back_again_and_again_is_left_to_who_takes_it",
    Reason.CONFLICTING_AUTOSCALER: "integration/test_operator_conflicts.py::"
    "test_an_autoscaler_that_aims_at_the_deployment_is_told_until_it_aims_at_the_model",
    Reason.INVALID_SPEC: "integration/test_operator_reasons.py::"
    "test_a_spec_that_only_the_operator_finds_wrong_is_told_by_its_field_and_not_tried_again",
    Reason.PROGRESSING: "integration/models.py::settled",
    Reason.ROLLED_BACK: "integration/test_operator_upgrades.py::test_a_version_past_its_deadline_is_rolled_back",
    Reason.SCALED_TO_ZERO: "integration/test_kstatus.py::test_a_model_that_should_run_nothing_is_current",
    Reason.SERVING: "integration/test_operator_status.py::test_a_model_serves_when_every_replica_is_available",
    Reason.STALE_USAGE_MAP: "integration/test_operator_preflight.py::"
    "test_a_stale_usage_map_is_the_models_reason_and_a_failed_check",
    Reason.UPGRADE_HELD: "integration/test_operator_upgrades.py::"
    "test_an_upgrade_that_a_quota_refuses_is_held_and_the_model_goes_on_serving",
    Reason.SUSPENDED: "integration/test_operator_status.py::test_a_suspended_model_says_so",
}


def parsed(path: str) -> ast.Module:
    return ast.parse((TESTS / path).read_text(encoding="utf-8"))


def cases(path: str) -> Iterator[str]:
    """The reasons of the cases that a test of the module goes through."""
    module = parsed(path)
    tests = [node for node in module.body if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")]
    used = {node.id for test in tests for node in ast.walk(test) if isinstance(node, ast.Name)}
    for table in (node for node in module.body if isinstance(node, ast.Assign)):
        if {target.id for target in table.targets if isinstance(target, ast.Name)} & used:
            for call in ast.walk(table.value):
                match call:
                    case ast.Call(func=ast.Name(id="Case"), args=[ast.Constant(value=str(reason)), *_]):
                        yield reason


def named_in(place: str) -> set[str]:
    """The words in quotes of a function and its decorators."""
    path, _, name = place.partition("::")
    functions = [node for node in parsed(path).body if isinstance(node, ast.FunctionDef) and node.name == name]
    return {str(node.value) for found in functions for node in ast.walk(found) if isinstance(node, ast.Constant)}


def test_every_reason_is_provoked_by_a_test() -> None:
    assert set(Reason) - set(cases(TABLES[0])) - set(ON_AN_API_SERVER) == set()
    assert set(cases(TABLES[0])) & set(ON_AN_API_SERVER) == set()


@pytest.mark.parametrize("table", TABLES)
def test_a_table_provokes_only_reasons_that_exist(table: str) -> None:
    assert set(cases(table)) <= set(Reason)


@pytest.mark.parametrize(("reason", "place"), ON_AN_API_SERVER.items(), ids=lambda value: str(value).split("::")[0])
def test_the_test_of_a_reason_exists_and_names_it(reason: Reason, place: str) -> None:
    assert reason in named_in(place)
