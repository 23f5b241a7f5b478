"""A settled cluster sees no write at all, also across a restart; the process itself starts and ends."""

import time

import httpx
import pytest
from prometheus_client.parser import text_string_to_metric_families

from integration.api_client import WAIT_S, Api
from integration.models import model, settled
from local_control_plane import ControlPlane, OperatorProcess
from neuron_operator.health import LONGEST_SILENCE_S
from neuron_operator.watching import SELECTORS

pytestmark = [pytest.mark.integration, pytest.mark.timeout(300)]

RECONCILES = "neuron_serving_operator_reconcile_duration_seconds_count"
MODELS = 5
# Left to itself, kopf takes five seconds to stop, on any machine; we take a fraction of one, slow ones two.
KOPFS_END_S = 4.5


def writes_in(control_plane: ControlPlane, namespace: str) -> list[str]:
    return [
        f"{entry['verb']} {entry['objectRef']['resource']}/{entry['objectRef'].get('subresource', '')}"
        for entry in control_plane.writes_by_operator()
        if entry["objectRef"].get("namespace") == namespace
    ]


def wait_for_reconciles(operator: OperatorProcess, count: int = 0) -> None:
    """The audit log is only worth reading once the operator has looked at every model, and has nothing left to do."""
    deadline = time.monotonic() + WAIT_S
    while operator.metric(RECONCILES) < count or not operator.is_idle():
        assert time.monotonic() < deadline, operator.log.read_text()
        time.sleep(0.05)


def test_a_model_costs_six_writes_and_an_event(api_server: ControlPlane, operator: OperatorProcess, api: Api) -> None:
    settled(api, model())
    wait_for_reconciles(operator)
    writes = sorted(writes_in(api_server, api.namespace))
    assert writes == [
        "create events/",
        "patch controllerrevisions/",
        "patch deployments/",
        "patch neuronmodels/status",
        "patch poddisruptionbudgets/",
        "patch services/",
    ]


def test_a_restart_with_settled_models_writes_nothing(
    api_server: ControlPlane, operator: OperatorProcess, api: Api
) -> None:
    for index in range(MODELS):
        settled(api, model(f"model-{index}"))
    wait_for_reconciles(operator)
    before = writes_in(api_server, api.namespace)
    operator.stop()
    operator.start()
    wait_for_reconciles(operator, MODELS)
    assert writes_in(api_server, api.namespace) == before


def test_a_change_that_is_none_writes_nothing(api_server: ControlPlane, operator: OperatorProcess, api: Api) -> None:
    settled(api, model())
    wait_for_reconciles(operator)
    before, looked = writes_in(api_server, api.namespace), operator.metric(RECONCILES)
    api.merge("neuronmodels", "sentiment", {"metadata": {"annotations": {"note": "nothing to do with us"}}})
    wait_for_reconciles(operator, int(looked) + 1)
    assert writes_in(api_server, api.namespace) == before


def test_the_process_ends_soon_after_sigterm(operator: OperatorProcess, api: Api) -> None:
    settled(api, model())
    took_s = operator.stop()
    operator.start()
    assert took_s < KOPFS_END_S


def test_the_endpoints_answer(operator: OperatorProcess, api: Api) -> None:
    settled(api, model())
    for path in ("healthz", "readyz"):
        assert httpx.get(f"http://127.0.0.1:{operator.health_port}/{path}", timeout=WAIT_S).text == "ok"
    assert operator.metric("neuron_serving_operator_models") >= 3
    assert operator.metric("neuron_serving_operator_leader") == 1


def test_requests_are_counted_by_verb_and_code_and_every_watch_has_an_age(operator: OperatorProcess, api: Api) -> None:
    settled(api, model())
    text = httpx.get(f"http://127.0.0.1:{operator.metrics_port}/metrics", timeout=WAIT_S).text
    found = {family.name: family.samples for family in text_string_to_metric_families(text)}
    created = {"verb": "PATCH", "resource": "deployments", "code": "201"}
    assert [s.value >= 1 for s in found["neuron_serving_operator_api_requests"] if s.labels == created] == [True]
    timed = [s for s in found["neuron_serving_operator_api_request_duration_seconds"] if s.name.endswith("_count")]
    assert [s.value >= 1 for s in timed if s.labels == {"verb": "PATCH"}] == [True]
    ages = {s.labels["kind"]: s.value for s in found["neuron_serving_operator_watch_age_seconds"]}
    assert set(ages) == set(SELECTORS)
    assert all(0 <= age_s < LONGEST_SILENCE_S for age_s in ages.values())
