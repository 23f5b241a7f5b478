"""How a rollout is decided: surge, in place or not yet, case by case; and what is read back of it later."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from neuron_operator.claims import Claim, claim_of, claims_of, gives_neighbors, may_run_on
from neuron_operator.indices import Key
from neuron_operator.ledger import Ledger
from neuron_operator.observe import ObservedNode, observe_node
from neuron_operator.rollout import (
    Decision,
    Outlook,
    Promise,
    Replacement,
    downtime_note,
    interruption_note,
    plan_rollout,
    recorded_strategy,
)
from observed import node

NOW = datetime(2026, 1, 1, tzinfo=UTC)
NEW = Claim(cores=2, namespace="shop", model="sentiment", revision="sentiment-b")
ASKED = Replacement("shop", "sentiment", "sentiment-b", NEW, replicas=2, max_unavailable=1)


def nodes_with(*cores: int) -> tuple[ObservedNode, ...]:
    """inf2.48xlarge nodes n1, n2, …: so many allocatable cores on each."""
    return tuple(
        observe_node(node(f"n{number}", "inf2.48xlarge", count)) for number, count in enumerate(cores, start=1)
    )


def mapped(usage: str) -> tuple[ObservedNode, ...]:
    """One node whose scheduler extension tells which cores are in use."""
    return (replace(nodes_with(len(usage.split(",")))[0], core_usage=usage),)


def old(name: str = "sentiment-1", on: str = "n1", cores: int = 2, **over: Any) -> Claim:
    return replace(NEW, name=name, node=on, cores=cores, revision="sentiment-a", **over)


def other(name: str = "other-1", cores: int = 2, on: str = "", **over: Any) -> Claim:
    """A pod of somebody else; without a node the scheduler has given up on it for now."""
    return Claim(cores, 0, name, "bank", node=on, is_unschedulable=not on, **over)


def outlook(nodes: tuple[ObservedNode, ...], *claims: Claim, promises: tuple[Promise, ...] = ()) -> Outlook:
    return Outlook(nodes, claims, promises, NOW)


def promise(model: str = "vision", cores: int = 2) -> Promise:
    return Promise("shop", model, f"{model}-b", cores)


def answer(decision: Decision) -> str:
    return f"{decision.strategy}, held" if decision.hold is not None else decision.strategy


SURGE_OR_NOT = [
    pytest.param(outlook(mapped("true,true,false,false"), old()), "Surge", id="beside-the-old-one"),
    pytest.param(outlook(nodes_with(2), old()), "InPlace", id="nothing-free"),
    pytest.param(outlook(nodes_with(3), old()), "InPlace", id="one-core-too-few"),
    pytest.param(outlook(nodes_with(3, 3), old(), old("sentiment-2", "n2")), "InPlace", id="fragments-on-two-nodes"),
    pytest.param(outlook(nodes_with(2, 2), old()), "Surge", id="on-another-node"),
    pytest.param(
        outlook((nodes_with(2)[0], replace(nodes_with(2, 2)[1], is_usable=False)), old()), "InPlace", id="cordoned"
    ),
    pytest.param(outlook(nodes_with(4), old(), other(on="n1")), "InPlace", id="taken-by-others"),
    pytest.param(outlook(nodes_with(4), old(), other(is_terminating=True, on="n1")), "InPlace", id="still-ending"),
    pytest.param(outlook(nodes_with(2, 2), old(), promises=(promise(),)), "InPlace", id="promised"),
    pytest.param(outlook(nodes_with(2, 2, 2), old(), promises=(promise(),)), "Surge", id="one-of-two-promised"),
    pytest.param(
        outlook(nodes_with(2, 2, 2), old(), promises=(promise(), promise("speech"))), "InPlace", id="both-promised"
    ),
    pytest.param(
        outlook(
            nodes_with(2, 2, 2), old(), Claim(2, 0, "v", "shop", "vision", "vision-b", "n2"), promises=(promise(),)
        ),
        "Surge",
        id="a-promise-kept-counts-once",
    ),
    pytest.param(
        outlook(nodes_with(2, 2, 2), old(), Claim(2, 0, "v", "shop", "vision", "vision-b"), promises=(promise(),)),
        "Surge",
        id="a-promise-and-its-waiting-pod-count-once",
    ),
    pytest.param(
        outlook(nodes_with(2, 2), old(), Claim(2, 0, "w", "bank")), "InPlace", id="a-pod-on-its-way-may-take-it"
    ),
    pytest.param(
        outlook(nodes_with(2, 2), old(), Claim(2, 0, "w", "bank", node_selector={"zone": "b"})),
        "Surge",
        id="a-pod-that-may-not-run-there",
    ),
    pytest.param(
        outlook(mapped("true,true,false,false"), old(), other(cores=1)), "InPlace", id="one-core-may-break-it"
    ),
    pytest.param(outlook(mapped("true,true" + 4 * ",false"), old(), other(cores=1)), "Surge", id="room-for-both"),
    pytest.param(outlook(mapped("true,true" + 4 * ",false"), old(), other()), "InPlace", id="two-cores-may-break-it"),
]


@pytest.mark.parametrize(("seen", "expected"), SURGE_OR_NOT)
def test_a_surge_needs_a_whole_replica_of_cores_that_nobody_else_may_take(seen: Outlook, expected: str) -> None:
    decision = plan_rollout(replace(ASKED, is_loss_accepted=True), seen)
    assert answer(decision) == expected
    assert decision.reason
    assert (decision.max_surge, decision.max_unavailable) == ((1, 0) if expected == "Surge" else (0, 1))
    assert (decision.promise is not None) == (expected == "Surge")


WINNERS = [
    pytest.param(outlook(nodes_with(2), old(), other()), "InPlace, held", id="as-large"),
    pytest.param(outlook(nodes_with(2), old(), other(cores=1)), "InPlace, held", id="smaller-breaks-it"),
    pytest.param(outlook(nodes_with(2), old(), other(cores=3)), "InPlace", id="too-large"),
    pytest.param(outlook(nodes_with(3), old(), other(cores=1)), "InPlace, held", id="may-part-the-neighbors"),
    pytest.param(outlook(nodes_with(2), old(), other(priority=-1)), "InPlace", id="lower-priority"),
    pytest.param(outlook(nodes_with(2), old(priority=5), other(priority=4)), "InPlace", id="lower-than-ours"),
    pytest.param(outlook(nodes_with(2), old(priority=5), other(priority=5)), "InPlace, held", id="equal-priority"),
    pytest.param(outlook(nodes_with(2), old(), other(node_selector={"zone": "b"})), "InPlace", id="elsewhere"),
    pytest.param(outlook(nodes_with(2), old(), old("sentiment-2", on="")), "InPlace", id="our-own"),
    pytest.param(outlook(nodes_with(2, 2), old(), other(on="n2")), "InPlace", id="has-a-node"),
    pytest.param(outlook(nodes_with(2), old(), Claim(0, 1, "dev", "bank")), "InPlace, held", id="whole-devices"),
    pytest.param(
        outlook(
            nodes_with(2, 2),
            old(),
            Claim(2, 0, "v1", "shop", "vision", "vision-a", "n2", is_terminating=True),
            Claim(2, 0, "v2", "shop", "vision", "vision-b", is_unschedulable=True),
        ),
        "InPlace",
        id="waits-for-its-own-ending-pod",
    ),
]


@pytest.mark.parametrize(("seen", "expected"), WINNERS)
def test_in_place_waits_while_a_pod_of_others_would_take_the_freed_cores(seen: Outlook, expected: str) -> None:
    decision = plan_rollout(ASKED, seen)
    assert answer(decision) == expected
    assert answer(plan_rollout(replace(ASKED, is_loss_accepted=True), seen)) == "InPlace"
    if decision.hold is not None:
        assert decision.hold.reason == "RolloutWouldLoseCores"
        assert "pod bank/" in decision.hold.message
        assert decision.look_again_s is not None


ONE, OLD_ONE = replace(NEW, cores=1), old(cores=1)


@pytest.mark.parametrize(
    ("seen", "max_unavailable", "expected"),
    [
        pytest.param(outlook(nodes_with(2), OLD_ONE, other(cores=1)), 1, "InPlace", id="room-for-both"),
        pytest.param(
            outlook(nodes_with(2), OLD_ONE, other(cores=1), other("b", cores=1)), 1, "InPlace, held", id="two-together"
        ),
        pytest.param(
            outlook(nodes_with(2), OLD_ONE, old("b", cores=1), other()), 1, "InPlace", id="too-large-for-one-at-a-time"
        ),
        pytest.param(
            outlook(nodes_with(2), OLD_ONE, old("b", cores=1), other()), 2, "InPlace, held", id="fits-two-at-a-time"
        ),
    ],
)
def test_all_that_is_freed_at_a_time_is_counted(seen: Outlook, max_unavailable: int, expected: str) -> None:
    assert answer(plan_rollout(replace(ASKED, new=ONE, max_unavailable=max_unavailable), seen)) == expected


def test_a_priority_that_the_new_pods_do_not_have_protects_nothing() -> None:
    seen = outlook(nodes_with(2), old(priority=5), other(priority=4))
    assert answer(plan_rollout(replace(ASKED, is_priority_kept=False), seen)) == "InPlace, held"


@pytest.mark.parametrize(
    ("new", "nodes"),
    [
        pytest.param(replace(NEW, cores=4), nodes_with(2), id="more-cores-than-the-old-one-frees"),
        pytest.param(replace(NEW, node_selector={"zone": "b"}), nodes_with(2), id="may-not-run-where-the-old-one-does"),
    ],
)
def test_nothing_is_stopped_where_that_would_not_let_the_new_one_run(
    new: Claim, nodes: tuple[ObservedNode, ...]
) -> None:
    decision = plan_rollout(replace(ASKED, new=new), outlook(nodes, old()))
    assert answer(decision) == "Surge"
    assert "the old version goes on serving" in decision.reason
    assert decision.promise is None, "there are no cores to promise"


@pytest.mark.parametrize(
    ("waited_s", "seen", "expected"),
    [
        pytest.param(59, outlook(nodes_with(2), old()), "Surge", id="patient"),
        pytest.param(60, outlook(nodes_with(2), old()), "InPlace", id="no-longer"),
        pytest.param(60, outlook(nodes_with(4), old()), "InPlace", id="even-if-cores-are-free-it-found-none"),
        pytest.param(60, outlook(nodes_with(2), old(), other()), "InPlace, held", id="somebody-would-take-them"),
        pytest.param(
            60, outlook(nodes_with(2), old(cores=1), other(cores=1, on="n1")), "Surge", id="in-place-is-no-help"
        ),
    ],
)
def test_a_surge_without_a_node_falls_back_after_a_minute(waited_s: int, seen: Outlook, expected: str) -> None:
    asked = replace(ASKED, unschedulable_since=NOW - timedelta(seconds=waited_s))
    decision = plan_rollout(asked, seen)
    assert answer(decision) == expected
    if expected == "Surge":
        assert decision.look_again_s is not None
        assert decision.promise is None


def test_the_look_at_a_waiting_surge_comes_when_its_patience_ends() -> None:
    decision = plan_rollout(
        replace(ASKED, unschedulable_since=NOW - timedelta(seconds=20)), outlook(nodes_with(2), old())
    )
    assert decision.look_again_s == 40


CONTIGUITY = [
    pytest.param(1, "", True, id="one"),
    pytest.param(4, "", True, id="all"),
    pytest.param(2, "", False, id="no-map"),
    pytest.param(2, "false,false,true,true", True, id="run-of-two"),
    pytest.param(2, "false,true,false,true", False, id="apart"),
    pytest.param(3, "false,false,true,false", False, id="run-too-short"),
    pytest.param(2, "false,false", False, id="of-another-node"),
    pytest.param(2, "{}", False, id="unreadable"),
    pytest.param(2, "0,0,0,0", False, id="another-writing"),
]


@pytest.mark.parametrize(("cores", "usage", "expected"), CONTIGUITY)
def test_neighboring_cores_are_only_counted_on_where_they_are_known(cores: int, usage: str, expected: bool) -> None:
    assert gives_neighbors(replace(nodes_with(4)[0], core_usage=usage), cores) is expected


def test_cores_that_are_free_but_perhaps_apart_are_no_room_for_a_surge() -> None:
    seen = outlook(nodes_with(8), old(cores=2), old("sentiment-2"))
    decision = plan_rollout(ASKED, seen)
    assert answer(decision) == "InPlace"
    assert "not known to be neighbors" in decision.reason
    mapped = replace(seen, nodes=(replace(seen.nodes[0], core_usage=",".join(["true"] * 4 + ["false"] * 4)),))
    assert answer(plan_rollout(ASKED, mapped)) == "Surge"


TAINT = {"key": "team", "value": "search", "effect": "NoSchedule"}


@pytest.mark.parametrize(
    ("spec", "taints", "expected"),
    [
        pytest.param({}, [], True, id="anywhere"),
        pytest.param({}, [TAINT], False, id="taint"),
        pytest.param({}, [TAINT | {"effect": "PreferNoSchedule"}], True, id="soft-taint"),
        pytest.param({"tolerations": [{"key": "team", "value": "search"}]}, [TAINT], True, id="tolerated"),
        pytest.param({"tolerations": [{"key": "team", "value": "shop"}]}, [TAINT], False, id="other-value"),
        pytest.param({"tolerations": [{"operator": "Exists"}]}, [TAINT], True, id="tolerates-all"),
        pytest.param(
            {"tolerations": [{"key": "team", "operator": "Exists", "effect": "NoExecute"}]}, [TAINT], False, id="effect"
        ),
        pytest.param({"nodeSelector": {"zone": "a"}}, [], True, id="label"),
        pytest.param({"nodeSelector": {"zone": "b"}}, [], False, id="other-label"),
    ],
)
def test_labels_and_taints_decide_where_a_pod_may_run(spec: dict[str, Any], taints: list[Any], expected: bool) -> None:
    found = replace(nodes_with(2)[0], labels={"zone": "a"}, taints=tuple(taints))
    claim = claim_of({"spec": {**spec, "containers": [asking(2)]}})
    assert claim is not None
    assert may_run_on(claim, found) is expected


@pytest.mark.parametrize(
    ("operator", "values", "expected"),
    [
        ("In", ["a"], True),
        ("In", ["b"], False),
        ("NotIn", ["a"], False),
        ("Exists", [], True),
        ("DoesNotExist", [], False),
        ("Gt", ["3"], True),
    ],
)
def test_required_node_affinity_is_followed(operator: str, values: list[str], expected: bool) -> None:
    term = {"matchExpressions": [{"key": "zone", "operator": operator, "values": values}]}
    required = {"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]}}
    claim = claim_of({"spec": {"containers": [asking(2)], "affinity": {"nodeAffinity": required}}})
    assert claim is not None
    assert may_run_on(claim, replace(nodes_with(2)[0], labels={"zone": "a"})) is expected


def asking(cores: int) -> dict[str, Any]:
    return {"resources": {"requests": {"aws.amazon.com/neuroncore": str(cores)}}}


def test_pods_that_ask_for_nothing_or_may_not_be_scheduled_yet_are_no_claims() -> None:
    gated = {"conditions": [{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}]}
    pods: list[dict[str, Any]] = [
        {"spec": {"containers": [{}]}},
        {"spec": {"containers": [asking(2)]}, "status": gated},
        {"metadata": {"name": "b", "deletionTimestamp": "2026"}, "spec": {"containers": [asking(3)], "nodeName": "n1"}},
    ]
    assert claims_of(pods) == (Claim(3, name="b", node="n1", is_terminating=True),)


def deployment(record: str | None, of: str, template: str, surge: Any = 0) -> dict[str, Any]:
    annotations = {"neuron-serving.dev/revision": of} | ({"neuron-serving.dev/rollout": record} if record else {})
    marked = {"metadata": {"annotations": {"neuron-serving.dev/revision": template}}}
    strategy = {"rollingUpdate": {"maxSurge": surge, "maxUnavailable": 1}}
    return {"metadata": {"annotations": annotations}, "spec": {"template": marked, "strategy": strategy}}


@pytest.mark.parametrize(
    ("live", "expected"),
    [
        pytest.param(None, None, id="none-there"),
        pytest.param(deployment("Surge", "b", "b"), "Surge", id="recorded"),
        pytest.param(deployment("InPlace", "b", "a"), "InPlace", id="template-undone-by-hand"),
        pytest.param(deployment("Surge", "a", "a"), None, id="of-another-template"),
        pytest.param(deployment("Surgery", "b", "b", 1), "Surge", id="unreadable-but-surging"),
        pytest.param(deployment(None, "", "b", "25%"), "Surge", id="an-earlier-release-surging"),
        pytest.param(deployment(None, "", "b"), "InPlace", id="an-earlier-release-in-place"),
    ],
)
def test_a_decision_is_read_back_from_the_deployment(live: dict[str, Any] | None, expected: str | None) -> None:
    assert recorded_strategy(live, "b") == expected


@pytest.mark.parametrize(
    ("strategy", "replicas", "max_unavailable", "words"),
    [
        ("InPlace", 1, 1, "the one replica is replaced in place, so nothing answers"),
        ("InPlace", 2, 3, "all replicas are replaced in place, so nothing answers"),
        ("InPlace", 2, 1, ""),
        ("InPlace", 0, 1, ""),
        ("Surge", 1, 1, ""),
    ],
)
def test_the_downtime_of_a_replacement_is_told(strategy: Any, replicas: int, max_unavailable: int, words: str) -> None:
    assert downtime_note(strategy, replicas, max_unavailable).startswith(words or "")
    assert bool(downtime_note(strategy, replicas, max_unavailable)) == bool(words)


@pytest.mark.parametrize(
    ("mode", "replicas", "words"),
    [
        ("Auto", 1, "while its node is drained, or while an update for which there are no cores to spare replaces it"),
        ("InPlace", 1, "while its node is drained, or while an update replaces it"),
        ("Surge", 1, "while its node is drained"),
        ("Auto", 0, ""),
        ("InPlace", 2, ""),
    ],
)
def test_what_a_single_replica_costs_is_told_beforehand(mode: Any, replicas: int, words: str) -> None:
    note = interruption_note(mode, replicas)
    assert note == (f"with one replica nothing answers {words}" if words else "")


def test_a_promise_lasts_while_its_pod_is_awaited_and_is_nobodys_own_rival() -> None:
    ledger, one, two = Ledger(), Key("shop", "one"), Key("shop", "two")
    assert not ledger.settle(one, promise("one"), "one-b")
    assert ledger.others(two) == (promise("one"),)
    assert ledger.others(one) == ()
    assert not ledger.settle(one, None, "one-b"), "still awaited"
    assert ledger.settle(one, None, ""), "on a node, over, or in place now"
    assert ledger.others(two) == ()
    assert not ledger.settle(one, None, ""), "ended once"
    ledger.settle(one, promise("one"), "one-b")
    assert ledger.settle(one, None, "one-c"), "a promise for a template that is no longer wanted"
