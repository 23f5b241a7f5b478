"""Whatever a pod's status holds, the answer is a reason of ours in words that don't change by themselves, or none."""

import json
import re
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from model_builders import model, placement_of
from neuron_operator.api.conditions import Reason
from neuron_operator.capacity import Capacity
from neuron_operator.observe import observe_deployment, observe_pods
from neuron_operator.reasons import (
    CONFIG_REASONS,
    ENDED_BY_NODE,
    IMAGE_REASONS,
    LONGEST_MESSAGE,
    RUNTIME_REASONS,
    Failure,
    find_failure,
    has_page,
    parse_termination_message,
    with_runbook,
)

NOW = datetime(2026, 1, 1, tzinfo=UTC)
PLACEMENT = placement_of(model(neuronCores=2, placement={"instanceTypes": ["inf2.xlarge"]}))
DEFAULT_URL = "https://neuron-serving.dev/runbook"
LONGEST_URL = f"https://docs.example/{'u' * 179}"

Json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
WORDS = sorted(IMAGE_REASONS | CONFIG_REASONS | ENDED_BY_NODE | {"CrashLoopBackOff", "OOMKilled", "Error", "Completed"})
Word = st.sampled_from(WORDS) | st.text(max_size=20)
Said = st.text(max_size=2000) | st.sampled_from(["not found", "401 Unauthorized", "0/3 nodes are available", "a\n\nb"])
Time = st.none() | st.sampled_from(
    ["2025-12-31T23:59:50Z", "2026-01-01T00:00:00Z", "2026-01-01T00:05:00Z", "not a time", ""]
)
Told = st.builds(
    lambda reason, message, hint: json.dumps({"reason": reason, "message": message, "hint": hint}),
    st.sampled_from([str(reason) for reason in RUNTIME_REASONS]),
    Said,
    Said,
)


def some_of(fields: dict[str, st.SearchStrategy[Any]]) -> st.SearchStrategy[dict[str, Any]]:
    """As an API server sends it: of the right types, any of it missing."""
    return st.fixed_dictionaries({}, optional=fields)


def states() -> st.SearchStrategy[Any]:
    ended = {"reason": Word, "message": Said | Told, "startedAt": Time, "finishedAt": Time}
    terminated = some_of(ended | {"exitCode": st.integers(0, 255)})
    waiting, running = some_of({"reason": Word, "message": Said}), some_of({"startedAt": Time})
    return some_of({"waiting": waiting}) | some_of({"running": running}) | some_of({"terminated": terminated})


def containers() -> st.SearchStrategy[Any]:
    fields = {
        "image": Said,
        "ready": st.booleans(),
        "started": st.booleans(),
        "restartCount": st.integers(0, 9_999),
        "state": states(),
        "lastState": states(),
    }
    return st.lists(
        st.tuples(some_of(fields), st.sampled_from(["runtime", "fetch", "app"])).map(
            lambda made: made[0] | {"name": made[1]}
        ),
        max_size=2,
    )


def conditions() -> st.SearchStrategy[Any]:
    kinds = st.sampled_from(["PodScheduled", "Ready", "ContainersReady", "Initialized"])
    fields = {
        "status": st.sampled_from(["True", "False", "Unknown"]),
        "reason": st.just("Unschedulable") | Word,
        "message": Said,
        "lastTransitionTime": Time,
    }
    return st.lists(st.tuples(some_of(fields), kinds).map(lambda made: made[0] | {"type": made[1]}), max_size=4)


def pods() -> st.SearchStrategy[list[dict[str, Any]]]:
    status = {
        "phase": st.sampled_from(["Pending", "Running", "Failed", "Succeeded"]),
        "reason": Word,
        "message": Said,
        "conditions": conditions(),
        "initContainerStatuses": containers(),
        "containerStatuses": containers(),
    }
    name = st.sampled_from(["sentiment-1", "sentiment-2", "m" * 253])
    made = st.tuples(name, Time, st.booleans(), some_of(status)).map(lambda parts: _pod(*parts))
    return st.lists(made, max_size=3)


def _pod(name: str, created: str | None, is_terminating: bool, status: dict[str, Any]) -> dict[str, Any]:
    leaving = {"deletionTimestamp": "2026-01-01T00:00:00Z"} if is_terminating else {}
    return {"metadata": {"name": name, "creationTimestamp": created, **leaving}, "status": status}


def find(bodies: list[dict[str, Any]], later: timedelta = timedelta(0)) -> Failure | None:
    deployment = observe_deployment({"metadata": {"generation": 1}, "spec": {"replicas": 2}})
    return find_failure(observe_pods(bodies), deployment, PLACEMENT, Capacity(), NOW + later)


def check(found: Failure | None) -> None:
    if found is None:
        return
    assert found.reason in Reason
    assert len(found.message) <= LONGEST_MESSAGE
    assert found.container == "" or (found.pod in found.sentence and found.container in found.sentence)
    message = with_runbook(found.reason, found.sentence, DEFAULT_URL)
    assert len(message) <= LONGEST_MESSAGE
    assert message.endswith(f" Runbook: {DEFAULT_URL}/{found.reason}.")


@given(pods())
def test_any_status_that_the_api_server_can_send_is_answered_in_our_words(bodies: list[dict[str, Any]]) -> None:
    check(find(bodies))


@st.composite
def spoiled(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Pods with something in the status of one that no schema allows."""
    bodies = draw(pods().filter(bool))
    inside: Any = bodies[0]
    at: Any = "status"
    while inside[at] and isinstance(inside[at], dict | list) and draw(st.booleans()):
        inside = inside[at]
        at = draw(st.sampled_from(sorted(inside) if isinstance(inside, dict) else range(len(inside))))
    inside[at] = draw(Json)
    return bodies


@given(spoiled())
def test_a_status_that_no_schema_allows_is_answered_all_the_same(bodies: list[dict[str, Any]]) -> None:
    check(find(bodies))


@given(pods())
def test_the_same_pods_give_the_same_answer_in_any_order(bodies: list[dict[str, Any]]) -> None:
    named = {body["metadata"]["name"]: body for body in bodies}
    assert find(list(named.values())) == find(list(reversed(named.values())))


@given(pods(), st.integers(1, 9_999), st.integers(3_600, 10_000_000))
def test_a_message_changes_neither_with_time_nor_with_the_count_of_restarts(
    bodies: list[dict[str, Any]], restarts: int, seconds: int
) -> None:
    """But for a reason that stops holding, which ends with its ten seconds."""
    before = find(bodies, timedelta(hours=1))
    for body in bodies:
        for field in ("initContainerStatuses", "containerStatuses"):
            for container in body["status"].get(field, ()):
                container["restartCount"] = restarts
    assert find(bodies, timedelta(hours=1, seconds=seconds)) == before


@given(st.binary(max_size=5000))
def test_any_bytes_as_a_termination_message_are_no_failure_of_ours(content: bytes) -> None:
    # What the API server makes of them: text, with a mark where it was none.
    assert parse_termination_message(content.decode(errors="replace")) is None


@given(Json)
def test_any_json_as_a_termination_message_is_read_or_is_not_the_runtimes(content: Any) -> None:
    assert parse_termination_message(json.dumps(content)) is None


@given(st.sampled_from(RUNTIME_REASONS), Json, Json, Json)
def test_a_termination_message_with_a_reason_of_the_runtimes_is_told_whatever_else_is_in_it(
    reason: Reason, message: Any, hint: Any, details: Any
) -> None:
    said = {"reason": reason, "message": message, "hint": hint, "details": details}
    parsed = parse_termination_message(json.dumps(said))
    assert parsed is not None
    assert parsed[0] == reason
    assert parsed[1]
    assert all(len(words) <= LONGEST_MESSAGE and not re.search(r"[\n\t]", words) for words in parsed[1:])


@given(st.sampled_from(list(Reason)), st.text(max_size=3000), st.booleans())
def test_a_link_is_never_cut_and_a_message_never_longer_than_an_event_holds(
    reason: Reason, message: str, has_url: bool
) -> None:
    url = LONGEST_URL if has_url else ""
    told = with_runbook(reason, message, url)
    assert len(told) <= LONGEST_MESSAGE
    link = f" Runbook: {url}/{reason}."
    assert told.endswith(link) == (has_url and has_page(reason))
    assert told == with_runbook(reason, message, url)
