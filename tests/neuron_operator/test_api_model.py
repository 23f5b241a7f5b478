"""How objects become NeuronModels, and how what is wrong with them is told."""

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import neuron_operator
from model_builders import model, model_body
from neuron_operator.api import NeuronModel, NeuronModelSpec, NeuronModelStatus
from neuron_operator.api.conditions import Condition, Reason, with_transition_times
from neuron_operator.api.meanings import MEANINGS
from neuron_operator.errors import InvalidSpecError, Problem


def problems_of(body: dict[str, Any], *, strict: bool = True) -> list[str]:
    with pytest.raises(InvalidSpecError) as refused:
        NeuronModel.parse(body, strict=strict)
    return [str(problem) for problem in refused.value.problems]


def test_metadata_that_matters_is_read() -> None:
    body = model_body(namespace="shop")
    body["metadata"] |= {"generation": 7, "managedFields": [{"a": 1}]}
    found = NeuronModel.parse(body)
    assert (found.name, found.namespace, found.metadata.generation) == ("sentiment", "shop", 7)


def test_every_problem_is_told_at_once_with_its_path() -> None:
    body = model_body(replicas=-1, rollout={"mode": "Fast"}, artifact={"uri": "ftp://x"})
    assert [problem.partition(":")[0] for problem in problems_of(body)] == [
        "spec.artifact.uri",
        "spec.replicas",
        "spec.rollout.mode",
    ]


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        pytest.param({"neuronCors": 2}, "spec.neuronCors: unknown field; did you mean neuronCores?", id="close"),
        pytest.param(
            {"rollout": {"strategy": "x"}},
            "spec.rollout.strategy: unknown field; known are acceptCoreLoss, autoRollback, drainSeconds, "
            "maxUnavailable, mode, progressDeadlineSeconds",
            id="not-close",
        ),
        pytest.param(
            {"pod": {"containers": [{"name": "a", "image": "b", "imge": "c"}]}},
            "spec.pod.containers[0].imge: unknown field; did you mean image?",
            id="in-a-list",
        ),
    ],
)
def test_an_unknown_field_is_told_with_what_was_probably_meant(spec: dict[str, Any], expected: str) -> None:
    assert problems_of(model_body(**spec)) == [expected]


def test_unknown_fields_of_a_newer_api_are_dropped_unless_strict() -> None:
    assert NeuronModel.parse(model_body(fieldOfTomorrow=True)).spec == model().spec


def test_a_missing_spec_is_told_field_by_field() -> None:
    body = model_body()
    del body["spec"]
    assert problems_of(body) == ["spec.artifact: required", "spec.neuronCores: required"]


def test_another_kind_is_refused() -> None:
    assert problems_of(model_body() | {"kind": "Deployment"}) == ["kind: must be NeuronModel, not 'Deployment'"]


def test_an_object_without_a_name_is_refused() -> None:
    assert problems_of({"spec": model_body()["spec"]}) == ["metadata.name: required"]


@pytest.mark.parametrize("spec", [[], "text", 3], ids=["list", "text", "number"])
def test_a_spec_of_another_shape_is_refused(spec: Any) -> None:
    assert problems_of(model_body() | {"spec": spec or [1]})


anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
known_fields = st.sampled_from([field.alias for field in NeuronModelSpec.model_fields.values() if field.alias])


@settings(max_examples=60)
@given(spec=st.dictionaries(known_fields | st.text(max_size=8), anything, max_size=4) | anything, strict=st.booleans())
def test_whatever_is_written_is_read_or_refused_with_a_reason(spec: Any, strict: bool) -> None:
    problems: tuple[Problem, ...] = ()
    try:
        NeuronModel.parse(model_body() | {"spec": spec}, strict=strict)
    except InvalidSpecError as error:
        problems = error.problems
    assert all(problem.path.startswith("spec") and problem.message for problem in problems)


def test_wanted_replicas_are_none_while_suspended() -> None:
    assert model(replicas=3).spec.desired_replicas == 3
    assert model(replicas=3, suspend=True).spec.desired_replicas == 0


def test_a_default_written_out_has_the_same_intent_as_one_left_out() -> None:
    written = model(rollout={"drainSeconds": 15}, serving={"requestTimeoutSeconds": 30}, pod={"env": []}, runtime={})
    assert written.spec.template_intent() == model().spec.template_intent()


def test_an_untouched_status_claims_nothing() -> None:
    assert NeuronModelStatus().observed_generation == -1


def condition(status: Any, at: str = "", reason: str = "Serving") -> Condition:
    return Condition(type="Ready", status=status, reason=reason, last_transition_time=at)


def test_a_transition_time_is_kept_while_the_status_stays() -> None:
    before = [condition("False", "2026-01-01T00:00:00Z", "Progressing")]
    (kept,) = with_transition_times(before, [condition("False", reason="CrashLoop")], "2026-01-02T00:00:00Z")
    assert (kept.last_transition_time, kept.reason) == ("2026-01-01T00:00:00Z", "CrashLoop")


@pytest.mark.parametrize("before", [[], [condition("False", "2026-01-01T00:00:00Z")]], ids=["new", "changed"])
def test_a_transition_time_is_now_when_the_status_changes(before: list[Condition]) -> None:
    (changed,) = with_transition_times(before, [condition("True")], "2026-01-02T00:00:00Z")
    assert changed.last_transition_time == "2026-01-02T00:00:00Z"


def test_every_reason_is_given_somewhere() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in Path(neuron_operator.__path__[0]).glob("*.py"))
    assert [reason for reason in Reason if f"Reason.{reason.name}" not in source] == []


def test_every_reason_has_a_meaning_and_a_next_step() -> None:
    assert set(MEANINGS) == set(Reason)
    for meaning in MEANINGS.values():
        assert meaning.what.endswith(".")
        assert meaning.next_step.endswith(".")
