"""The preflight checks, case by case; findings depend on what there is and not on its order."""

import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model_builders import model_body
from neuron_operator.capacity import Requests
from neuron_operator.preflight.checks import Check, Finding, Outcome, check, has_failed, table
from neuron_operator.preflight.surroundings import Surroundings, observe_surroundings, suspects
from observed import node

Body = dict[str, Any]
TYPE = "inf2.24xlarge"
OTHERS = "node.kubernetes.io/not-ready"


def neuron_node(name: str = "n1", cores: int = 12, usage: str = "", taint: str = "", **over: Any) -> Body:
    taints = [{"key": taint, "effect": "NoSchedule"}] if taint else []
    body = node(name, TYPE, cores, spec={"taints": taints, **over.pop("spec", {})}, **over)
    body["metadata"]["annotations"] = {"NEURON_CORE_USAGE_MAP": usage} if usage else {}
    return body


def other_node(name: str = "cpu") -> Body:
    return node(name, "m7i.large", 0)


def used(count: int, of: int = 12) -> str:
    return ",".join(["true"] * count + ["false"] * (of - count))


def model(name: str = "sentiment", cores: int = 4, scheduler: str = "", reason: str = "Progressing") -> Body:
    placement: Body = {"placement": {"schedulerName": scheduler}} if scheduler else {}
    status = {"conditions": [{"type": "Ready", "status": "False", "reason": reason}]}
    return model_body(name, neuronCores=cores, **placement) | {"status": status}


def pod(name: str, on: str = "", scheduler: str = "my-scheduler", seen: bool = True, phase: str = "Pending") -> Body:
    conditions = [{"type": "PodScheduled", "status": "False"}] if seen else []
    metadata = {"name": name, "namespace": "shop", "labels": {"neuron-serving.dev/model": "sentiment"}}
    spec = {"schedulerName": scheduler, **({"nodeName": on} if on else {})}
    return {"metadata": metadata, "spec": spec, "status": {"phase": phase, "conditions": conditions}}


def surroundings(
    *nodes: Body, models: Sequence[Body] = (), pods: Sequence[Body] = (), scheduler: str = "", **more: Any
) -> Surroundings:
    return replace(observe_surroundings(nodes, models, pods, scheduler), **more)


def found(name: Check, around: Surroundings) -> Finding:
    return next(finding for finding in check(around) if finding.check is name)


CLOSED: Body = {"spec": {"unschedulable": True}}
MAPPED = neuron_node(usage=used(4))
PARTIAL: Body = {"models": [model()], "scheduler": "my-scheduler"}
NEEDS = model(reason="SchedulerExtensionRequired")
BOTH = frozenset({"ServiceMonitor", "PodMonitor", "Probe"})
N, D, S, U, T, M = Check
CASES = [
    pytest.param(N, surroundings(), "fail", id="nodes-none"),
    pytest.param(N, surroundings(other_node()), "fail", id="nodes-of-no-known-type"),
    pytest.param(N, surroundings(neuron_node(cores=0, ready=False)), "pass", id="nodes-by-their-type"),
    pytest.param(N, surroundings(node("x", "", 2)), "pass", id="nodes-by-their-cores"),
    pytest.param(D, surroundings(), "unknown", id="plugin-without-nodes"),
    pytest.param(D, surroundings(neuron_node(cores=0, ready=False)), "unknown", id="plugin-not-ready"),
    pytest.param(D, surroundings(neuron_node(cores=0, **CLOSED)), "unknown", id="plugin-cordoned"),
    pytest.param(D, surroundings(neuron_node(), other_node()), "pass", id="plugin-there"),
    pytest.param(D, surroundings(neuron_node(), neuron_node("n2", 0)), "fail", id="plugin-missing-on-one"),
    pytest.param(S, surroundings(neuron_node()), "pass", id="extension-not-needed"),
    pytest.param(S, surroundings(neuron_node(), models=[NEEDS]), "fail", id="extension-needed-and-not-named"),
    pytest.param(S, surroundings(MAPPED, models=[NEEDS]), "fail", id="extension-there-and-not-named"),
    pytest.param(S, surroundings(neuron_node(), scheduler="my-scheduler"), "unknown", id="extension-no-trace-yet"),
    pytest.param(S, surroundings(MAPPED, scheduler="my-scheduler"), "pass", id="extension-left-a-map"),
    pytest.param(S, surroundings(MAPPED, pods=[pod("a", seen=False)], **PARTIAL), "fail", id="extension-looks-at-none"),
    pytest.param(
        S, surroundings(MAPPED, pods=[pod("a", seen=False, scheduler="default-scheduler")]), "pass", id="not-its-pod"
    ),
    pytest.param(S, surroundings(neuron_node(), pods=[pod("a", "n1")], **PARTIAL), "fail", id="extension-left-no-map"),
    pytest.param(
        S,
        surroundings(neuron_node(), pods=[pod("a", "n1", "default-scheduler")], models=[model(cores=12)]),
        "pass",
        id="all-cores-need-no-extension",
    ),
    pytest.param(
        S,
        surroundings(neuron_node(), pods=[pod("a", "n1", "default-scheduler")], **PARTIAL),
        "unknown",
        id="a-pod-of-an-older-version-tells-nothing",
    ),
    pytest.param(
        S,
        surroundings(neuron_node(), pods=[pod("a", "n1", "x")], models=[model(scheduler="x")]),
        "fail",
        id="a-models-own-scheduler-without-the-extension",
    ),
    pytest.param(U, surroundings(neuron_node()), "unknown", id="maps-none"),
    pytest.param(U, surroundings(MAPPED, requests={"n1": Requests(4)}), "pass", id="maps-as-asked"),
    pytest.param(U, surroundings(MAPPED, requests={"n1": Requests(0, 2)}), "pass", id="maps-of-whole-devices"),
    pytest.param(U, surroundings(MAPPED, requests={"n1": Requests(3)}), "fail", id="maps-hold-one-too-many"),
    pytest.param(U, surroundings(MAPPED, requests={}), "pass", id="maps-that-needed-no-reading"),
    pytest.param(U, surroundings(MAPPED, requests=None), "unknown", id="maps-and-pods-that-cannot-be-read"),
    pytest.param(U, surroundings(MAPPED, pods=[pod("a", "n1")], **PARTIAL), "pass", id="maps-of-our-pods-alone"),
    pytest.param(U, surroundings(neuron_node(usage="0-3"), requests={}), "fail", id="maps-in-other-words"),
    pytest.param(U, surroundings(neuron_node(usage=used(1, 2)), requests={}), "fail", id="maps-of-too-few-cores"),
    pytest.param(U, surroundings(neuron_node(cores=0, usage="x"), requests={}), "unknown", id="maps-without-plugin"),
    pytest.param(T, surroundings(), "unknown", id="taint-without-nodes"),
    pytest.param(T, surroundings(neuron_node(taint="aws.amazon.com/neuron")), "pass", id="taint-of-aws"),
    pytest.param(T, surroundings(neuron_node(taint="team")), "pass", id="taint-of-ones-own"),
    pytest.param(T, surroundings(neuron_node(taint=OTHERS)), "fail", id="taint-that-passes"),
    pytest.param(T, surroundings(neuron_node(), neuron_node("n2", taint="team")), "fail", id="taint-on-one-of-two"),
    pytest.param(M, surroundings(), "unknown", id="definitions-not-read"),
    pytest.param(M, surroundings(definitions=frozenset()), "fail", id="definitions-none"),
    pytest.param(M, surroundings(definitions=BOTH - {"PodMonitor"}), "fail", id="definitions-half"),
    pytest.param(M, surroundings(definitions=BOTH), "pass", id="definitions-both"),
]


@pytest.mark.parametrize(("name", "around", "outcome"), CASES)
def test_a_check_finds(name: Check, around: Surroundings, outcome: str) -> None:
    finding = found(name, around)
    assert finding.outcome == outcome
    assert (finding.next_step != "") == (outcome == "fail"), "whatever fails says what to do"


def test_every_check_is_tried_with_each_outcome_it_has() -> None:
    tried = {(case.values[0], case.values[2]) for case in CASES}
    impossible = {(N, "unknown")}
    assert tried == {(name, str(outcome)) for name in Check for outcome in Outcome} - impossible


def test_a_failure_names_three_nodes_and_the_next_step() -> None:
    around = surroundings(*(neuron_node(name, 0) for name in ("n4", "n2", "n1", "n3")))
    finding = found(Check.DEVICE_PLUGIN, around)
    assert finding.nodes == ("n1", "n2", "n3", "n4")
    assert finding.message == (
        "No aws.amazon.com/neuroncore is advertised on n1, n2, n3 and others. Install the Neuron device plugin, or "
        "look at its pods: kubectl -n kube-system get pods -l name=neuron-device-plugin-ds -o wide."
    )


def test_only_maps_that_the_models_own_pods_do_not_explain_need_the_pods_of_others() -> None:
    nodes = (neuron_node("n1", usage=used(4)), neuron_node("n2", usage=used(5)), neuron_node("n3", usage=used(0)))
    pods = [pod("a", "n1"), pod("b", "n2"), pod("gone", "n2", phase="Succeeded")]
    assert suspects(surroundings(*nodes, pods=pods, **PARTIAL)) == ("n2",)
    assert suspects(surroundings(*nodes, pods=pods, models=[])) == ("n1", "n2")


def test_the_table_has_a_line_for_each_check_and_what_to_do_where_one_fails() -> None:
    lines = table(check(surroundings(neuron_node(cores=0)))).splitlines()
    assert [line.split()[0] for line in lines] == ["CHECK", *Check]
    assert lines[2].startswith(
        "DevicePlugin           fail     No aws.amazon.com/neuroncore is advertised on n1. Install"
    )
    assert lines[5].split()[1] == "advice"


def test_advice_that_is_not_taken_fails_nothing() -> None:
    good = surroundings(neuron_node(), definitions=frozenset())
    assert [finding.check for finding in check(good) if finding.outcome is Outcome.FAILED] == [T, M]
    assert not has_failed(check(good))
    assert has_failed(check(surroundings()))


NAMES = st.sampled_from(["n1", "n2", "n3", "n4", "n5"])
NODES = st.lists(
    st.builds(
        neuron_node,
        NAMES,
        st.sampled_from([0, 12]),
        st.sampled_from(["", "garbled", used(0), used(5), used(12)]),
        st.sampled_from(["", "team"]),
        ready=st.booleans(),
    ),
    unique_by=lambda body: body["metadata"]["name"],
)
PODS = st.lists(
    st.builds(
        pod, st.text("abc", min_size=1, max_size=3), NAMES | st.just(""), st.sampled_from(["x", "default-scheduler"])
    ),
    unique_by=lambda body: body["metadata"]["name"],
)
MODELS = st.lists(
    st.builds(
        model,
        st.sampled_from(["sentiment", "other", "third"]),
        st.sampled_from([1, 4, 12]),
        st.sampled_from(["", "x"]),
        st.sampled_from(["Serving", "SchedulerExtensionRequired"]),
    ),
    unique_by=lambda body: body["metadata"]["name"],
)
ASKED = st.none() | st.dictionaries(NAMES, st.builds(Requests, st.integers(0, 12), st.integers(0, 6)))


@given(NODES, PODS, MODELS, ASKED, st.integers())
def test_findings_are_one_for_each_check_and_the_same_in_any_order(
    nodes: list[Body], pods: list[Body], models: list[Body], asked: dict[str, Requests] | None, seed: int
) -> None:
    findings = check(surroundings(*nodes, pods=pods, models=models, requests=asked))
    for bodies in (nodes, pods, models):
        random.Random(seed).shuffle(bodies)
    assert check(surroundings(*nodes, pods=pods, models=models, requests=asked)) == findings
    assert [finding.check for finding in findings] == list(Check)
    known = {body["metadata"]["name"] for body in nodes}
    assert all(set(finding.nodes) <= known and list(finding.nodes) == sorted(finding.nodes) for finding in findings)
    assert all(len(finding.message) < 600 for finding in findings)
