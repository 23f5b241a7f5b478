"""Decides what one reconcile writes to the children: parse, place, freeze, render, compare. Pure.

`reconcile.py` gives it what the indices know and carries out the answer. A model that can't be placed keeps the
template that it runs, and is scaled and repaired with it: the last good version goes on serving.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from neuron_operator import names
from neuron_operator.api import NeuronModel
from neuron_operator.api.conditions import Reason
from neuron_operator.changes import Change, change_to, with_desired_hash
from neuron_operator.errors import InvalidSpecError
from neuron_operator.placement import Placement, Rejection, choose_placement
from neuron_operator.render import desired_children, owner_reference, pod_template
from neuron_operator.revisions import Frozen, freeze_template, last_good
from neuron_operator.settings import Settings

Body = dict[str, Any]
# A revision's data can't be changed once it is written; comparing it would only find what can't be repaired.
IMMUTABLE = {"ControllerRevision": ("data",)}


@dataclass(frozen=True)
class Refusal:
    """Why the spec as it is can't be rendered or written, in the words of the status."""

    reason: Reason
    message: str


@dataclass(frozen=True)
class Known:
    """The model as it is on the cluster, and its children by kind."""

    model: Body
    children: Mapping[str, Sequence[Body]] = field(default_factory=dict)

    def child(self, kind: str, name: str) -> Body | None:
        return next((c for c in self.children.get(kind, ()) if c["metadata"]["name"] == name), None)


@dataclass(frozen=True)
class Plan:
    """Children to adopt from an earlier owner, to apply and to delete, in this order. With a refusal these are what the
    last good version needs, if there is one."""

    model: NeuronModel | None = None
    placement: Placement | None = None
    template: Body | None = None
    refusal: Refusal | None = None
    adopt: tuple[Body, ...] = ()
    apply: tuple[Change, ...] = ()
    delete: tuple[Body, ...] = ()
    waits_for: tuple[str, ...] = ()


def make_plan(known: Known, settings: Settings) -> Plan:
    try:
        model = NeuronModel.parse(known.model)
    except InvalidSpecError as error:
        return Plan(refusal=Refusal(Reason.INVALID_SPEC, f"{error}. Correct the fields named here."))
    placement = choose_placement(model.spec, settings)
    revisions, deployment = known.children.get("ControllerRevision", ()), known.child("Deployment", model.name)
    if isinstance(placement, Rejection):
        refused = Plan(model=model, refusal=Refusal(placement.reason, placement.message))
        running = last_good(model, revisions, deployment)
        return _compare(known, model, running, refused) if running is not None else refused
    frozen = freeze_template(model, lambda: pod_template(model, placement, settings), revisions, deployment)
    return _compare(known, model, frozen, Plan(model=model, placement=placement))


def _compare(known: Known, model: NeuronModel, frozen: Frozen, decided: Plan) -> Plan:
    """What is decided already, with the writes that bring the children to it."""
    wanted = [with_desired_hash(body) for body in (frozen.revision, *desired_children(model, frozen.template))]
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
        skipped = IMMUTABLE.get(desired["kind"], ()) if live is not None else ()
        change = change_to({name: value for name, value in desired.items() if name not in skipped}, live)
        if change is not None:
            apply.append(change)
    return replace(
        decided,
        template=frozen.template,
        adopt=tuple(adopt),
        apply=tuple(apply),
        delete=(*frozen.outdated, *_orphans(known, model, wanted)),
        waits_for=tuple(waits_for),
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
