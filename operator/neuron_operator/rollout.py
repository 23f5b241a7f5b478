"""Decides how the replicas of a changed model are replaced: by surge, in place, or not yet. Pure.

`plan.py` asks once per pod template and records the answer on the Deployment, in the request that applies the template;
later reconciles read it back, so that it never flaps. Only a surge whose pod finds no node is decided again, once.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final, Literal

from neuron_operator.api.conditions import Reason
from neuron_operator.capacity import Shortage, free_runs
from neuron_operator.claims import Claim, gives_neighbors, may_run_on
from neuron_operator.names import ANNOTATION_ROLLOUT
from neuron_operator.observe import ObservedNode
from neuron_operator.revisions import revision_of

Strategy = Literal["Surge", "InPlace"]
Mode = Literal["Auto", "Surge", "InPlace"]

# How long the first pod of a surge may find no node before its cores are taken from an old one.
PATIENCE: Final = timedelta(seconds=60)
# Pods of others come and go without any event that we watch.
HELD_LOOK_S: Final = 15.0


@dataclass(frozen=True)
class Promise:
    """Cores that a surge counts on while its first pod has no node."""

    namespace: str
    model: str
    revision: str
    cores: int


@dataclass(frozen=True)
class Outlook:
    """The cluster at the moment of planning: Neuron nodes, whoever holds or wants their cores, what is promised. An
    operator that may not read nodes knows none of it."""

    nodes: tuple[ObservedNode, ...]
    claims: tuple[Claim, ...]
    promises: tuple[Promise, ...]
    now: datetime
    knows_nodes: bool = True

    def free_on(self, node: ObservedNode) -> int:
        held = sum(claim.cores_on(node) for claim in self.claims if claim.node == node.name)
        return max(0, node.allocatable_cores - held)


@dataclass(frozen=True)
class Replacement:
    """What is to be replaced by what. `unschedulable_since` speaks of the surge's own pod, once there is one."""

    namespace: str
    model: str
    revision: str
    new: Claim
    replicas: int
    max_unavailable: int
    is_loss_accepted: bool = False
    is_priority_kept: bool = True
    unschedulable_since: datetime | None = None
    patience: timedelta = PATIENCE

    def is_own(self, claim: Claim) -> bool:
        return (claim.namespace, claim.model) == (self.namespace, self.model)


@dataclass(frozen=True)
class Decision:
    """`hold` says why nothing may be replaced yet; the rest is what would be done otherwise."""

    strategy: Strategy
    max_surge: int
    max_unavailable: int
    reason: str
    hold: Shortage | None = None
    promise: Promise | None = None
    look_again_s: float | None = None


def recorded_strategy(deployment: Mapping[str, Any] | None, revision: str) -> Strategy | None:
    """What was decided for the revision; if the record is lost, what the Deployment that runs it does."""
    if deployment is None:
        return None
    if revision_of(deployment) == revision:
        for strategy in ("Surge", "InPlace"):
            if deployment["metadata"]["annotations"].get(ANNOTATION_ROLLOUT) == strategy:
                return strategy
    if revision_of(deployment["spec"]["template"]) != revision:
        return None
    numbers = deployment["spec"].get("strategy", {}).get("rollingUpdate") or {}
    return "InPlace" if numbers.get("maxSurge", 0) in (0, "0", "0%") else "Surge"


def plan_rollout(asked: Replacement, outlook: Outlook) -> Decision:
    """The first row that applies.

    | situation                                               | answer                                   |
    |---------------------------------------------------------|------------------------------------------|
    | nodes may not be read                                   | in place                                 |
    | a whole replica surely fits                             | surge, its cores promised                |
    | the surge's pod has no node, its patience is not over   | surge                                    |
    | no old replica's cores would let a new one run          | surge: the old ones serve until it can   |
    | a waiting pod of others could take the freed cores      | in place, held, unless that is accepted  |
    | otherwise                                               | in place                                 |
    """
    if not outlook.knows_nodes:
        why = "the operator may not read nodes, so which cores are free is unknown"
        return Decision("InPlace", 0, asked.max_unavailable, f"{why}{_downtime(asked)}")
    if asked.unschedulable_since is None:
        node, why = _spare_node(asked, outlook)
        if node is not None:
            promise = Promise(asked.namespace, asked.model, asked.revision, asked.new.cores_on(node))
            return Decision("Surge", 1, 0, why, promise=promise)
    else:
        left = asked.unschedulable_since + asked.patience - outlook.now
        if left > timedelta():
            why = "the new replica has no node yet; its cores may still come free"
            return Decision("Surge", 1, 0, why, look_again_s=left.total_seconds())
        why = f"the surge found no node within {asked.patience.total_seconds():.0f} seconds"
    freed = _freed(asked, outlook)
    if not any(outlook.free_on(node) + max(cores) >= asked.new.cores_on(node) for node, cores in freed):
        why += "; the cores of an old replica would not let a new one run either, so the old version goes on serving"
        return Decision("Surge", 1, 0, why, look_again_s=HELD_LOOK_S if asked.unschedulable_since else None)
    takers = [] if asked.is_loss_accepted else _takers(asked, outlook, freed)
    in_place = Decision("InPlace", 0, asked.max_unavailable, f"{why}{_downtime(asked)}")
    return _held(in_place, asked, takers) if takers else in_place


def downtime_note(strategy: Strategy, replicas: int, max_unavailable: int) -> str:
    """What replacing in place means where no replica is left meanwhile; empty otherwise."""
    if strategy == "Surge" or not 0 < replicas <= max_unavailable:
        return ""
    whose = "the one replica is" if replicas == 1 else "all replicas are"
    return f"{whose} replaced in place, so nothing answers until the new version is ready"


def interruption_note(mode: Mode, replicas: int) -> str:
    """What a single replica means, told before it matters: whatever takes its pod interrupts. Empty for any other."""
    if replicas != 1:
        return ""
    update = {
        "Auto": ", or while an update for which there are no cores to spare replaces it",
        "InPlace": ", or while an update replaces it",
        "Surge": "",
    }
    return f"with one replica nothing answers while its node is drained{update[mode]}"


def _downtime(asked: Replacement) -> str:
    note = downtime_note("InPlace", asked.replicas, asked.max_unavailable)
    return f"; {note}" if note else ""


def _spare_node(asked: Replacement, outlook: Outlook) -> tuple[ObservedNode | None, str]:
    """A node where a whole replica fits beside everything that may come first, and the finding in words.

    Who waits may go to any node, so each node has a price: the cores that must go before the replica no longer fits.
    If those who wait can't pay for all nodes, one is surely left.
    """
    open_to_it = [node for node in outlook.nodes if may_run_on(asked.new, node)]
    fitting = [node for node in open_to_it if outlook.free_on(node) >= asked.new.cores_on(node) > 0]
    if not fitting:
        most = max((outlook.free_on(node) for node in open_to_it), default=0)
        return None, f"no node has {_cores(asked.new)} free for another replica (at most {most})"
    known = [node for node in fitting if gives_neighbors(node, asked.new.cores_on(node))]
    if not known:
        return None, f"{_cores(asked.new)} {_are(asked.new)} free on {fitting[0].name}, but not known to be neighbors"
    rivals = _rivals(asked, outlook, known)
    budget, taken = sum(rivals), 0
    for price in sorted(_price(asked, outlook, node) for node in known):
        budget -= price
        taken += budget >= 0
    spare = len(known) - min(taken, len(rivals))
    if spare <= 0:
        return (
            None,
            f"{_cores(asked.new)} {_are(asked.new)} free on {known[0].name}, but others without a node may come first",
        )
    best = max(known, key=lambda node: (outlook.free_on(node), node.name))
    return best, f"{_cores(asked.new)} {_are(asked.new)} free on {best.name}, so a new replica fits beside the old ones"


def _price(asked: Replacement, outlook: Outlook, node: ObservedNode) -> int:
    """Every n-th core of a run of neighbors, well chosen, leaves none of n."""
    needed = asked.new.cores_on(node)
    too_few = outlook.free_on(node) - needed + 1
    if needed in (1, node.allocatable_cores):
        return too_few
    return min(too_few, sum(run // needed for run in free_runs(node)))


def _rivals(asked: Replacement, outlook: Outlook, nodes: Sequence[ObservedNode]) -> list[int]:
    """How many cores each pod without a node, and each promise whose pod is not on a node yet, may take on these."""
    placed = {(claim.namespace, claim.model, claim.revision) for claim in outlook.claims if claim.node}
    promised = {
        (promise.namespace, promise.model, promise.revision): promise.cores
        for promise in outlook.promises
        if (promise.namespace, promise.model, promise.revision) not in placed
    }
    waiting = [
        max((c for node in nodes if (c := claim.cores_on(node)) <= outlook.free_on(node)), default=0)
        for claim in outlook.claims
        if not claim.node and (claim.namespace, claim.model, claim.revision) not in promised
        if not (asked.is_own(claim) and claim.revision == asked.revision)
        if any(may_run_on(claim, node) for node in nodes)
    ]
    return [cores for cores in (*promised.values(), *waiting) if cores]


def _freed(asked: Replacement, outlook: Outlook) -> list[tuple[ObservedNode, list[int]]]:
    """The nodes that a new replica may run on instead of an old one, with the cores of each old one there."""
    old = [c for c in outlook.claims if asked.is_own(c) and c.revision != asked.revision and not c.is_terminating]
    return [
        (node, cores)
        for node in outlook.nodes
        if may_run_on(asked.new, node) and (cores := [c.cores_on(node) for c in old if c.node == node.name])
    ]


def _takers(asked: Replacement, outlook: Outlook, freed: Sequence[tuple[ObservedNode, list[int]]]) -> list[Claim]:
    """Waiting pods of others that may be given the freed cores, so that fewer new replicas fit."""
    ours = [claim.priority for claim in outlook.claims if asked.is_own(claim) and claim.node]
    priority = min(ours, default=0) if asked.is_priority_kept else 0
    waiting = [claim for claim in _uncovered(asked, outlook) if claim.priority >= priority]
    takers: dict[tuple[str, str], Claim] = {}
    for node, cores in freed:
        at_once = sorted(cores, reverse=True)[: asked.max_unavailable]
        free = outlook.free_on(node) + sum(at_once)
        here = [claim for claim in waiting if may_run_on(claim, node) and claim.cores_on(node) <= free]
        taken = sum(claim.cores_on(node) for claim in here)
        if here and _loses(asked.new.cores_on(node), node, free, taken, len(at_once)):
            takers |= {(claim.namespace, claim.name): claim for claim in here}
    return [claim for _, claim in sorted(takers.items(), key=lambda item: item[0])]


def _loses(needed: int, node: ObservedNode, free: int, taken: int, replicas: int) -> bool:
    """Whether so many cores less leave room for fewer replicas; of neighbors, any one less may."""
    if needed not in (1, node.allocatable_cores):
        return True
    return max(0, free - taken) // needed < min(replicas, free // needed)


def _uncovered(asked: Replacement, outlook: Outlook) -> list[Claim]:
    """Pods of others that wait for cores which nobody is about to give them.

    A model that is itself replaced in place waits for its own ending pods: if it takes our cores, we take those.
    """
    ending = _ending(asked, outlook)
    uncovered = []
    for claim in outlook.claims:
        if claim.node or asked.is_own(claim) or not (claim.is_unschedulable or not _fits_now(claim, outlook)):
            continue
        if ending[claim.namespace, claim.model]:
            ending[claim.namespace, claim.model] -= 1
        else:
            uncovered.append(claim)
    return uncovered


def _ending(asked: Replacement, outlook: Outlook) -> Counter[tuple[str, str]]:
    """How many pods of each model are ending where a new replica of ours could run instead."""
    by_name = {node.name: node for node in outlook.nodes if may_run_on(asked.new, node)}
    return Counter(
        (claim.namespace, claim.model)
        for claim in outlook.claims
        if claim.is_terminating and claim.model and (node := by_name.get(claim.node)) is not None
        if claim.cores_on(node) >= asked.new.cores_on(node)
    )


def _fits_now(claim: Claim, outlook: Outlook) -> bool:
    return any(may_run_on(claim, node) and outlook.free_on(node) >= claim.cores_on(node) for node in outlook.nodes)


def _held(in_place: Decision, asked: Replacement, takers: Sequence[Claim]) -> Decision:
    first = takers[0]
    shortage = Shortage(
        Reason.ROLLOUT_WOULD_LOSE_CORES,
        f"Stopping an old replica would free {_cores(asked.new)} that pod {first.namespace}/{first.name}, which waits "
        f"for {_cores(first)}, may take first. The old version goes on serving.",
        "Set spec.placement.priorityClassName or spec.rollout.acceptCoreLoss, or add a node.",
    )
    return Decision(**{**vars(in_place), "hold": shortage, "look_again_s": HELD_LOOK_S})


def _are(claim: Claim) -> str:
    return "is" if (claim.cores or claim.devices) == 1 else "are"


def _cores(claim: Claim) -> str:
    if claim.cores:
        return f"{claim.cores} NeuronCore{'' if claim.cores == 1 else 's'}"
    return f"{claim.devices} Neuron device{'' if claim.devices == 1 else 's'}"
