"""Decides what one reconcile writes to the children: parse, place, freeze, render, compare. Pure.

`reconcile.py` gives it what the indices know and carries out the answer. A model that can't be placed, or whose rollout
has to wait, keeps the template that it runs, and is scaled and repaired with it: the last good version goes on serving.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from neuron_operator import names
from neuron_operator.api import NeuronModel
from neuron_operator.api.conditions import Reason
from neuron_operator.capacity import Shortage
from neuron_operator.changes import Change, change_to, with_desired_hash
from neuron_operator.errors import InvalidSpecError
from neuron_operator.observe import ObservedPod, observe_deployment
from neuron_operator.placement import Placement, Rejection, choose_placement
from neuron_operator.render import desired_children, owner_reference, pod_template
from neuron_operator.revisions import Archive, revision_of
from neuron_operator.rollout import Decision, Outlook, Strategy, plan_rollout
from neuron_operator.settings import Settings
from neuron_operator.strategy import Rollout, awaits_its_first_pod, strategy_of_running, with_record
from neuron_operator.versions import Upgrade, Version, Versions

Body = dict[str, Any]
# A revision's data can't be changed once it is written, nor left out of an apply, which would mean to remove it.
IMMUTABLE = {"ControllerRevision": ("data",)}


@dataclass(frozen=True)
class Refusal:
    """Why the spec as it is can't be rendered or written, in the words of the status."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Known:
    """The model as it is on the cluster, its children by kind, its pods, and whether it is its turn to upgrade."""

    model: Body
    children: Mapping[str, Sequence[Body]] = field(default_factory=dict)
    pods: tuple[ObservedPod, ...] = ()
    has_turn: bool = False

    def child(self, kind: str, name: str) -> Body | None:
        return next((c for c in self.children.get(kind, ()) if c["metadata"]["name"] == name), None)


@dataclass(frozen=True)
class Plan:
    """Children to adopt from an earlier owner, to apply and to delete, in this order. With a refusal these are what the
    last good version needs, if there is one. A plan that needs an outlook has nothing else in it and is made again with
    one; `awaited_revision` is that of a surge of which no pod has a node yet; `held` is why an upgrade does not begin
    although it may."""

    model: NeuronModel | None = None
    placement: Placement | None = None
    template: Body | None = None
    refusal: Refusal | None = None
    adopt: tuple[Body, ...] = ()
    apply: tuple[Change, ...] = ()
    delete: tuple[Body, ...] = ()
    waits_for: tuple[str, ...] = ()
    needs_outlook: bool = False
    strategy: Strategy | None = None
    decision: Decision | None = None
    awaited_revision: str = ""
    upgrade: Upgrade = "none"
    held: Refusal | None = None
    version: Version | None = None

    @property
    def look_again_s(self) -> float | None:
        """When time alone may change the decision; None when it can't."""
        return self.decision.look_again_s if self.decision is not None else None


def make_plan(
    known: Known, settings: Settings, outlook: Outlook | None = None, refused_upgrade: Refusal | None = None
) -> Plan:
    """The plan; after an upgrade that the API server refused it leaves that out."""
    try:
        model = NeuronModel.parse(known.model)
    except InvalidSpecError as error:
        return Plan(refusal=Refusal(Reason.INVALID_SPEC, f"{error}. Correct the fields named here."))
    placement = choose_placement(model.spec, settings)
    if isinstance(placement, Rejection):
        return _keep_last_good(known, Plan(model=model, refusal=Refusal(placement.reason, placement.message)))

    def render() -> Body:
        return pod_template(model, placement, settings)

    versions = Versions(_archive(known, model), known.has_turn, known.model.get("status"))

    def without_upgrade() -> Plan:
        """What serves goes on serving as if there were nothing to adopt; it is tried again by and by."""
        return _plan_version(known, model, placement, versions.choose(render, is_held=True), outlook)

    if refused_upgrade is not None:
        return replace(without_upgrade(), upgrade="held", held=refused_upgrade)
    plan = _plan_version(known, model, placement, versions.choose(render), outlook)
    if plan.upgrade == "starts" and plan.decision is not None and plan.decision.hold is not None:
        return replace(without_upgrade(), upgrade="held", held=plan.refusal, decision=plan.decision)
    return plan


def _plan_version(
    known: Known, model: NeuronModel, placement: Placement, version: Version, outlook: Outlook | None
) -> Plan:
    """How the chosen version comes to the pods."""
    rollout = Rollout(model, version.frozen, known.child("Deployment", model.name), known.pods)
    decided, strategy = Plan(model=model, placement=placement, upgrade=version.upgrade), rollout.settled
    if rollout.is_to_be_planned:
        if outlook is None:
            return Plan(model=model, needs_outlook=True)
        decision = plan_rollout(rollout.replacement(outlook.now), outlook)
        decided = replace(decided, decision=decision)
        if decision.hold is not None:
            decided = replace(decided, refusal=_refusal_of(decision.hold))
            if strategy is None:
                # What the status says of the placement stays what it was, too.
                return _keep_last_good(known, replace(decided, placement=None))
        else:
            strategy = decision.strategy
    assert strategy is not None, "what is not settled is planned"
    if version.is_rollback:
        return _compare(known, version, strategy, replace(decided, refusal=_rolled_back(known, model, version)))
    note = rollout.note(strategy)
    told = replace(placement, reason=f"{placement.reason}; {note}") if note else placement
    return _compare(known, version, strategy, replace(decided, placement=told))


def without_its_version(known: Known, refused: Plan) -> Plan:
    """What is left of a plan whose version the API server did not take; nothing where that version runs already, or
    none does."""
    model, version = refused.model, refused.version
    live = known.child("Deployment", model.name) if model is not None else None
    if version is None or live is None or revision_of(live["spec"]["template"]) == version.frozen.name:
        return Plan()
    return _keep_last_good(known, Plan(model=model))


def _keep_last_good(known: Known, refused: Plan) -> Plan:
    """The template that runs goes on being scaled and repaired, whatever is refused."""
    model = refused.model
    assert model is not None, "only a spec that can be read has a last good version"
    archive = _archive(known, model)
    running = archive.running()
    if running is None:
        return refused
    version = Version(running, Versions(archive).kept_record())
    return _compare(known, version, strategy_of_running(model, archive.deployment, running.name), refused)


def _archive(known: Known, model: NeuronModel) -> Archive:
    revisions = known.children.get("ControllerRevision", ())
    owners = [controller_of(revision) for revision in revisions]
    # The label alone is no proof: another controller puts the labels of its pods on its own revisions.
    ours = [body for body, owner in zip(revisions, owners, strict=True) if owner is None or is_owner(owner, model)]
    return Archive(model, ours, known.child("Deployment", model.name))


def _rolled_back(known: Known, model: NeuronModel, version: Version) -> Refusal:
    """Said without figures, so that the way back is no stream of writes."""
    live, name = known.child("Deployment", model.name), version.frozen.name
    is_back = (
        live is not None and revision_of(live["spec"]["template"]) == name and observe_deployment(live).is_complete
    )
    if not model.spec.desired_replicas:
        now = "is what replicas would be of"
    else:
        now = "serves" if is_back else "is being brought back"
    return Refusal(
        Reason.ROLLED_BACK,
        f"Revision {version.record.given_up} was given up: {version.record.cause}. Revision {name}, the last that was "
        f"complete, {now}. Correct the spec; to try the same again, set spec.rollout.autoRollback to false.",
    )


def _refusal_of(shortage: Shortage) -> Refusal:
    return Refusal(shortage.reason, f"{shortage.message} {shortage.hint}")


def _compare(known: Known, version: Version, strategy: Strategy, decided: Plan) -> Plan:
    """What is decided already, with the writes that bring the children to it."""
    model, frozen = decided.model, version.frozen
    assert model is not None, "only a spec that can be read is compared"
    children = [with_record(c, strategy, version) for c in desired_children(model, frozen.template, strategy)]
    wanted = [with_desired_hash(body) for body in (frozen.revision, *children)]
    adopt, apply, waits_for = [], [], []
    for desired in wanted:
        live = known.child(desired["kind"], desired["metadata"]["name"])
        if live is not None and "deletionTimestamp" in live["metadata"]:
            waits_for.append(f"{desired['kind']} {desired['metadata']['name']}")
            continue
        owner = controller_of(live) if live is not None else None
        if owner is not None and not is_owner(owner, model):
            return replace(decided, refusal=name_conflict(desired, owner))
        if live is not None and (owner is None or owner["uid"] != model.metadata.uid):
            adopt.append(desired)
            continue
        kept = {name: live[name] for name in IMMUTABLE.get(desired["kind"], ()) if live is not None and name in live}
        change = change_to({**desired, **kept}, live)
        if change is not None:
            apply.append(change)
    return replace(
        decided,
        template=frozen.template,
        adopt=tuple(adopt),
        apply=tuple(apply),
        delete=(*frozen.outdated, *_orphans(known, model, wanted)),
        waits_for=tuple(waits_for),
        strategy=strategy,
        version=version,
        awaited_revision=frozen.name if awaits_its_first_pod(strategy, frozen.name, known.pods) else "",
    )


def _orphans(known: Known, model: NeuronModel, wanted: Sequence[Body]) -> list[Body]:
    """Children with our label and this owner that nothing asks for any more; revisions have a limit of their own."""
    kept = {(body["kind"], body["metadata"]["name"]) for body in wanted}
    return [
        body | {"kind": kind}
        for kind, bodies in known.children.items()
        if kind != "ControllerRevision"
        for body in bodies
        if (kind, body["metadata"]["name"]) not in kept
        and body["metadata"].get("labels", {}).get(names.LABEL_MODEL) == model.name
        and (controller_of(body) or {}).get("uid") == model.metadata.uid
        and "deletionTimestamp" not in body["metadata"]
    ]


def controller_of(body: Mapping[str, Any]) -> Mapping[str, Any] | None:
    owners = body["metadata"].get("ownerReferences", ())
    return next((owner for owner in owners if owner.get("controller")), None)


def is_owner(owner: Mapping[str, Any], model: NeuronModel) -> bool:
    """Whether a controller reference means this model, or an earlier one of its name: two can't exist at a time."""
    is_same = owner["uid"] == model.metadata.uid
    return bool(is_same or (owner["kind"] == names.KIND and owner["name"] == model.name))


def name_conflict(desired: Mapping[str, Any], owner: Mapping[str, Any] | None) -> Refusal:
    kind, name = desired["kind"], desired["metadata"]["name"]
    whose = f"controlled by {owner['kind']} {owner['name']}" if owner else "not this model's"
    return Refusal(
        Reason.NAME_CONFLICT,
        f"A {kind} {name} exists and is {whose}. Delete or rename it, or give the model another name.",
    )


def adoption_of(model: NeuronModel) -> list[Body]:
    """The owner references of an adopted child: this model alone."""
    return [owner_reference(model)]
