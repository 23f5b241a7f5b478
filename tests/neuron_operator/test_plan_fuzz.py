"""Whatever a NeuronModel holds: it is planned, or refused with a reason that becomes conditions, and nothing else."""

from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from model_builders import model_body, settings
from neuron_operator.api import NeuronModel
from neuron_operator.api.conditions import Reason
from neuron_operator.errors import InvalidSpecError
from neuron_operator.observe import ObservedDeployment
from neuron_operator.plan import Known, make_plan
from neuron_operator.reasons import LONGEST_MESSAGE
from neuron_operator.situation import Situation
from neuron_operator.status import FINAL_REASONS, compute_status

NOW = datetime(2026, 1, 1, tzinfo=UTC)
URL = settings().runbook_url

Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
FULL = model_body(
    replicas=2,
    suspend=False,
    artifact={"uri": "s3://models/sentiment/3/", "digest": "sha256:" + "a" * 64, "secretRef": {"name": "store"}},
    placement={"instanceTypes": ["inf2.xlarge"], "nodeSelector": {"zone": "a"}, "tolerations": [{"key": "gpu"}]},
    serving={"maxBatchSize": 4, "requestTimeoutSeconds": 5},
    rollout={"mode": "Surge", "drainSeconds": 1},
    service={"targetPort": 8080},
    resources={"limits": {"memory": "1Gi"}},
    pod={"env": [{"name": "A", "value": "b"}], "containers": [{"name": "app", "image": "app:1"}]},
    runtime={"image": "example.com/runtime:1"},
)


@st.composite
def spoiled(draw: st.DrawFn) -> Any:
    """A part of a value replaced by anything."""

    def spoil(value: Any) -> Any:
        if not isinstance(value, dict | list) or not value or not draw(st.booleans()):
            return draw(Json)
        if isinstance(value, list):
            return [spoil(value[0]), *value[1:]]
        name = draw(st.sampled_from(sorted(value)))
        return {**value, name: spoil(value[name])}

    return spoil(FULL["spec"])


def check(body: dict[str, Any]) -> None:
    plan = make_plan(Known(body), settings())
    status = compute_status(Situation(body, plan, ObservedDeployment(), refusal=plan.refusal, runbook_url=URL), NOW)
    conditions = {condition["type"]: condition for condition in status["conditions"]}
    assert {"Ready", "Reconciling", "Stalled"} <= set(conditions)
    assert all(0 < len(condition["message"]) <= LONGEST_MESSAGE for condition in conditions.values())
    if plan.refusal is None:
        assert plan.template is not None
        return
    assert plan.refusal.reason in Reason
    assert {condition["reason"] for condition in conditions.values()} == {plan.refusal.reason}
    assert all(c["message"].endswith(f" Runbook: {URL}/{plan.refusal.reason}.") for c in conditions.values())
    assert conditions["Ready"]["status"] == "False"
    assert (conditions["Stalled"]["status"] == "True") == (plan.refusal.reason in FINAL_REASONS)


@given(Json)
def test_any_json_as_a_spec_is_planned_or_refused(spec: Any) -> None:
    check({**FULL, "spec": spec})


@given(spoiled())
def test_any_json_inside_a_spec_is_planned_or_refused(spec: Any) -> None:
    check({**FULL, "spec": spec})


def refusal_of(body: dict[str, Any]) -> InvalidSpecError | None:
    try:
        NeuronModel.parse(body)
    except InvalidSpecError as error:
        return error
    return None


@given(st.dictionaries(st.sampled_from(["apiVersion", "kind", "metadata", "spec"]) | st.text(max_size=8), Json))
def test_any_object_is_a_model_or_is_refused(body: dict[str, Any]) -> None:
    refused = refusal_of(body)
    assert refused is None or (refused.problems and all(problem.message for problem in refused.problems))


@given(Json)
def test_any_status_that_somebody_wrote_is_replaced(status: Any) -> None:
    check({**FULL, "status": status})


def test_a_spec_with_hundreds_of_mistakes_is_refused_in_a_message_of_bearable_length() -> None:
    """As only a version of the CRD with other limits could have let in."""
    wrong = [{"name": f"APP_{number}", "valueFrom": "nothing"} for number in range(500)]
    check({**FULL, "spec": {**FULL["spec"], "pod": {"env": wrong}}})
