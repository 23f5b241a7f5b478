"""The whole reconcile against a cluster that lives: people edit, autoscalers scale, pods fail, nodes go, watches lag.

Time is simulated and the order of things is Hypothesis's. Every example ends by letting everything settle; then the
children are what their models ask for, the statuses say the truth, and nothing is written any more.
Deep: NEURON_STATEFUL_EXAMPLES=2000 python -m pytest tests/neuron_operator/test_stateful.py.
"""

import os

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from fakes.cluster import Body
from fakes.operator_in_memory import WATCHED
from fakes.settled import RELEASES
from fakes.stateful_world import NAMES, StatefulWorld
from neuron_operator import errors
from neuron_operator.indices import CHILD_KINDS
from neuron_operator.names import KIND

EXAMPLES = int(os.environ.get("NEURON_STATEFUL_EXAMPLES", "0"))
NUMBERS = st.integers(0, 11)
NAME = st.sampled_from(NAMES)
POLICIES: st.SearchStrategy[Body] = st.sampled_from(
    [{"upgradePolicy": "Automatic"}, {"upgradePolicy": "Automatic"}, {}]
)
ROLLING_BACK: Body = {"progressDeadlineSeconds": 30, "autoRollback": True}
SPECS: st.SearchStrategy[Body] = st.fixed_dictionaries(
    {"neuronCores": st.sampled_from([1, 2, 4]), "replicas": st.integers(0, 3), "runtime": POLICIES},
    optional={"rollout": st.just(ROLLING_BACK)},
)
TEMPLATES: st.SearchStrategy[Body] = st.one_of(
    st.integers(0, 3).map(lambda number: {"artifact": {"uri": f"s3://models/{number}/"}}),
    st.just({"artifact": {"uri": "s3://models/missing/"}}),
    st.just({"artifact": {"uri": "s3://models/missing/"}, "rollout": ROLLING_BACK}),
    st.sampled_from([1, 2, 4]).map(lambda cores: {"neuronCores": cores}),
    st.booleans().map(lambda is_set: {"pod": {"env": [{"name": "A", "value": "1"}]} if is_set else {}}),
)
ROLLOUTS: st.SearchStrategy[Body] = st.fixed_dictionaries(
    {"progressDeadlineSeconds": st.sampled_from([120, 30])},
    optional={
        "mode": st.sampled_from(["Auto", "Auto", "Surge", "InPlace"]),
        "maxUnavailable": st.integers(1, 2),
        "acceptCoreLoss": st.booleans(),
        "autoRollback": st.booleans(),
    },
)
REFUSED: st.SearchStrategy[Body] = st.sampled_from(
    [{"placement": {"instanceTypes": ["inf2.6xlarge"]}}, {"neuronCores": 99}, {"artifact": {"uri": "ftp://nowhere"}}]
)
FAILURES: tuple[errors.ApiError, ...] = (
    errors.ConflictError("in between", 409),
    errors.UnreachableError("down"),
    errors.ThrottledError("busy", retry_after_s=7.0),
    errors.ForbiddenError("exceeded quota: cores", 403),
    errors.RejectedError("admission says no", 422),
)
CALLS = (
    ("apply", "Deployment"),
    ("apply", "Service"),
    ("apply", "ControllerRevision"),
    ("write_status", "NeuronModel"),
    ("set_owners", "Deployment"),
    ("delete", "ControllerRevision"),
    ("list_pods_on", "n0"),
)


class LivingCluster(RuleBasedStateMachine):
    """Each rule is one thing that somebody does; between two of them the operator works or doesn't, as it comes."""

    @initialize(
        cores=st.lists(st.sampled_from([2, 4, 6, 16]), min_size=1, max_size=3),
        models=st.lists(SPECS, min_size=1, max_size=3),
        pace_s=st.sampled_from([0.0, 0.015, 0.1, 2.0]),
        is_lively=st.booleans(),
    )
    def start(self, cores: list[int], models: list[Body], pace_s: float, is_lively: bool) -> None:
        """After each rule `pace_s` go by; in a lively cluster the controllers take a step of their own, too."""
        self.world, self.pace_s, self.is_lively = StatefulWorld(tuple(cores)), pace_s, is_lively
        self.has_failed = False
        for name, spec in zip(NAMES, models, strict=False):
            self.world.create(name, **spec)
        self.world.settle()

    # ---- people and autoscalers

    @rule(name=NAME, spec=SPECS)
    def create(self, name: str, spec: Body) -> None:
        self.world.create(name, **spec)

    @rule(name=NAME, how=st.sampled_from(["Background", "Foreground", "Orphan"]))
    def delete(self, name: str, how: str) -> None:
        self.world.delete(name, how)

    @rule(name=NAME, changed=TEMPLATES)
    def edit_template(self, name: str, changed: Body) -> None:
        self.world.edit(name, changed)

    @rule(name=NAME, changed=REFUSED)
    def edit_wrongly(self, name: str, changed: Body) -> None:
        self.world.edit(name, changed)

    @rule(name=NAME)
    def edit_back_to_right(self, name: str) -> None:
        self.world.correct(name)

    @rule(name=NAME, rollout=ROLLOUTS)
    def edit_rollout(self, name: str, rollout: Body) -> None:
        self.world.edit(name, {"rollout": rollout})

    @rule(name=NAME, policy=POLICIES)
    def edit_policy(self, name: str, policy: Body) -> None:
        self.world.edit(name, {"runtime": policy})

    @rule(name=NAME, replicas=st.integers(0, 4))
    def scale(self, name: str, replicas: int) -> None:
        self.world.edit(name, {"replicas": replicas})

    @rule(name=NAME, suspend=st.booleans())
    def suspend(self, name: str, suspend: bool) -> None:
        self.world.edit(name, {"suspend": suspend})

    @rule(name=NAME, edit=NUMBERS)
    def edit_child(self, name: str, edit: int) -> None:
        self.world.edit_child(name, edit)

    @rule(name=NAME, kind=NUMBERS, how=st.sampled_from(["Background", "Foreground", "Orphan"]))
    def delete_child(self, name: str, kind: int, how: str) -> None:
        self.world.delete_child(name, kind, how)

    @rule(name=NAME)
    def occupy_name(self, name: str) -> None:
        self.world.occupy(name)

    @rule(name=NAME, kind=st.sampled_from(["Deployment", KIND]))
    def aim_autoscaler(self, name: str, kind: str) -> None:
        self.world.aim_autoscaler(name, kind)

    @rule(name=NAME)
    def remove_autoscaler(self, name: str) -> None:
        self.world.remove_autoscaler(name)

    @rule(name=NAME, replicas=st.integers(1, 4))
    def autoscale(self, name: str, replicas: int) -> None:
        self.world.autoscale(name, replicas)

    # ---- the cluster

    @rule(number=NUMBERS)
    def control(self, number: int) -> None:
        self.world.control(NAMES[number % len(NAMES)])

    @rule()
    def collect_garbage(self) -> None:
        self.world.step(self.world.controllers.collect_garbage)

    @rule(number=NUMBERS)
    def schedule(self, number: int) -> None:
        self.world.step(lambda: self.world.controllers.schedule(lambda count: number % count))

    @rule()
    def run_pods(self) -> None:
        self.world.step(self.world.controllers.run_pods)

    @rule(number=NUMBERS, how=st.sampled_from(["crash", "evict", "remove"]))
    def lose_pod(self, number: int, how: str) -> None:
        self.world.lose_pod(number, how)

    @rule(number=NUMBERS, how=st.sampled_from(["down", "up", "cordon", "uncordon"]))
    def change_node(self, number: int, how: str) -> None:
        self.world.change_node(number, how)

    @rule(cores=st.integers(1, 4))
    def add_foreign_pod(self, cores: int) -> None:
        self.world.step(lambda: self.world.controllers.add_foreign_pod(cores))

    @rule()
    def remove_foreign_pods(self) -> None:
        self.world.remove_foreign_pods()

    @rule(count=st.integers(0, 6))
    def limit_pods(self, count: int) -> None:
        self.world.limit_pods(count)

    @rule(kind=st.sampled_from(CHILD_KINDS))
    def limit_children(self, kind: str) -> None:
        self.world.limit_children(kind)

    @rule()
    def lift_quotas(self) -> None:
        self.world.lift_quotas()

    # ---- the operator and its way to the API server

    @rule(seconds=st.sampled_from([0.015, 0.1, 1.5, 20.0, 61.0]))
    def elapse(self, seconds: float) -> None:
        self.world.elapse(seconds)

    @rule(release=st.sampled_from(RELEASES))
    def restart_operator(self, release: int) -> None:
        self.world.restart_operator(release)

    @rule(kind=st.sampled_from(WATCHED))
    def hold_watch(self, kind: str) -> None:
        self.world.operator.hold(kind)

    @precondition(lambda self: self.world.operator.held)
    @rule(number=NUMBERS, is_listed=st.booleans())
    def release_watch(self, number: int, is_listed: bool) -> None:
        self.world.release_watch(number, is_listed=is_listed)

    @rule(call=st.sampled_from(CALLS), failure=st.sampled_from(FAILURES))
    def fail_call(self, call: tuple[str, str], failure: errors.ApiError) -> None:
        self.world.api.failures[call] = failure

    @rule(call=st.sampled_from(CALLS))
    def lose_answer(self, call: tuple[str, str]) -> None:
        self.world.api.lost_answers.add(call)

    @invariant()
    def nothing_wrong_was_done(self) -> None:
        self.has_failed = True
        self.world.elapse(self.pace_s)
        if self.is_lively:
            self.world.step_all()
        self.world.check()
        self.has_failed = False

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        try:
            if not self.has_failed:
                self.world.settle()
                self.world.check_settled()
        finally:
            self.world.close()


def test_whatever_happens_to_models_the_cluster_comes_to_rest_as_they_ask_or_they_say_why_not() -> None:
    run_state_machine_as_test(
        LivingCluster,
        settings=settings(
            max_examples=EXAMPLES or 12,
            stateful_step_count=40 if EXAMPLES else 25,
            derandomize=not EXAMPLES,
            deadline=None,
            database=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
