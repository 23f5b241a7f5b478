"""A rollout told before it happens, for `python -m neuron_operator plan-rollout`. Pure.

It asks the same plan as the reconcile and puts the answer into words: the decision and why, the nodes it rests on, and
what becomes of the replicas step by step.
"""

from collections.abc import Iterator

from neuron_operator.api import NeuronModel
from neuron_operator.claims import Claim, claim_of, gives_neighbors, may_run_on
from neuron_operator.observe import ObservedNode
from neuron_operator.plan import Known, Plan, make_plan
from neuron_operator.revisions import revision_of
from neuron_operator.rollout import Outlook, Strategy
from neuron_operator.settings import Settings


def rehearse(known: Known, settings: Settings, outlook: Outlook) -> tuple[str, bool]:
    """The text, and whether the rollout can finish on the cluster as it is."""
    plan = make_plan(known, settings, outlook)
    model, decision = plan.model, plan.decision
    assert model is not None, "only a model that could be read is rehearsed"
    head, can_finish = _headline(known, plan)
    lines = [f"NeuronModel {model.namespace}/{model.name}: {head}"]
    if decision is not None:
        lines.append(f"  why: {decision.reason}")
    claim = claim_of(plan.template) if plan.template is not None else None
    if claim is not None:
        lines += ["  nodes:", *(f"    {_node(node, claim, outlook)}" for node in outlook.nodes)]
    if can_finish and plan.strategy is not None and _replaces(known, plan):
        lines += ["  what happens:", *(f"    {step}" for step in _steps(model, plan.strategy))]
    return "\n".join(lines) + "\n", can_finish


def _headline(known: Known, plan: Plan) -> tuple[str, bool]:
    if plan.refusal is not None:
        what = "is held" if plan.decision is not None else "can't be rolled out"
        return f"{what}: {plan.refusal.reason}: {plan.refusal.message}", False
    if not _replaces(known, plan):
        return "nothing is replaced, because the pods stay as they are or there are none yet", True
    assert plan.model is not None, "what replaces something could be read"
    mode, decision = plan.model.spec.rollout.mode, plan.decision
    how = "by surge" if plan.strategy == "Surge" else "in place"
    if decision is not None and decision.strategy == "Surge" and decision.promise is None:
        return f"is replaced {how}, and waits for a node that a new replica may run on", False
    return f"is replaced {how}" + ("" if mode == "Auto" else f", as spec.rollout.mode {mode} asks"), True


def _replaces(known: Known, plan: Plan) -> bool:
    """Whether the running pods are of another template, or of one that is still on its way."""
    assert plan.model is not None, "only a model that could be read has pods"
    live = known.child("Deployment", plan.model.name)
    if live is None or plan.template is None or not known.pods:
        return False
    return any(pod.revision != revision_of(plan.template) for pod in known.pods)


def _node(node: ObservedNode, claim: Claim, outlook: Outlook) -> str:
    free, needed = outlook.free_on(node), claim.cores_on(node)
    line = f"{node.name}  {node.instance_type or 'of unknown type'}  {free} of {node.allocatable_cores} cores free"
    if not node.is_usable:
        return f"{line}, not ready or closed for pods"
    if not may_run_on(claim, node):
        return f"{line}, but the model may not run there"
    if free >= needed and not gives_neighbors(node, needed):
        return f"{line}, not known to be neighbors"
    return line


def _steps(model: NeuronModel, strategy: Strategy) -> Iterator[str]:
    rollout, replicas, cores = model.spec.rollout, model.spec.desired_replicas, model.spec.neuron_cores
    drain = f"goes on answering for {rollout.drain_seconds} seconds and ends"
    if strategy == "Surge":
        yield f"1. A new replica starts on {cores} free NeuronCore{'' if cores == 1 else 's'}."
        yield f"2. Once it is ready, an old one {drain}: {replicas} of {replicas} always answer."
    else:
        at_once = min(rollout.max_unavailable, replicas)
        who = f"{at_once} of {replicas} replicas, each of which" if at_once > 1 else f"1 of {replicas} replicas, which"
        yield f"1. Told to stop: {who} {drain}; {replicas - at_once} answer after that."
        yield "2. New ones start on the cores that this frees."
    yield "3. The same again until every replica is of the new version."
