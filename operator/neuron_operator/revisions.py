"""Freezes the pod template of a model in a ControllerRevision, and finds it again. Pure.

A running model keeps the template it was rendered with until the user changes what shapes its pods: a new operator with
another default image, probe or variable finds the old template under the same intent and leaves the pods alone. The
same revisions are what a rollback would go back to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from neuron_operator import names
from neuron_operator.api import NeuronModel
from neuron_operator.changes import desired_hash
from neuron_operator.render import owner_reference

Body = dict[str, Any]
# On the Deployment and on the template, so that a Deployment and each of its pods say which revision they are of.
ANNOTATION_REVISION: Final = f"{names.GROUP}/revision"
REVISIONS_KEPT: Final = 10


@dataclass(frozen=True)
class Frozen:
    """The template to run, the revision that holds it, and the revisions that are too old to keep."""

    name: str
    template: Body
    revision: Body
    outdated: tuple[Body, ...]


def freeze_template(
    model: NeuronModel, render: Callable[[], Body], revisions: Sequence[Body], deployment: Mapping[str, Any] | None
) -> Frozen:
    """The template of the model's present intent.

    | its revision | the Deployment       | template                                              |
    |--------------|----------------------|-------------------------------------------------------|
    | exists       | whatever             | the revision's                                        |
    | lost         | is of that revision  | the Deployment's, as it runs                          |
    | lost         | is of another / none | rendered anew                                         |
    """
    name = names.revision_name(model.name, desired_hash(model.spec.template_intent()))
    kept = _find(revisions, name)
    template = kept["data"]["template"] if kept is not None else _adopted(deployment, name) or _marked(render(), name)
    return _frozen(model, name, template, revisions)


def last_good(model: NeuronModel, revisions: Sequence[Body], deployment: Mapping[str, Any] | None) -> Frozen | None:
    """The template that runs, for a model whose present intent can't be placed; without a Deployment the newest."""
    newest = max(revisions, key=_number, default=None)
    if deployment is not None:
        name = revision_of(deployment["spec"]["template"])
    else:
        name = newest["metadata"]["name"] if newest is not None else ""
    kept = _find(revisions, name)
    template = kept["data"]["template"] if kept is not None else _adopted(deployment, name)
    return _frozen(model, name, template, revisions) if name and template is not None else None


def _frozen(model: NeuronModel, name: str, template: Body, revisions: Sequence[Body]) -> Frozen:
    kept = _find(revisions, name)
    revision = {
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": name,
            "namespace": model.namespace,
            "labels": names.child_labels(model.name),
            "ownerReferences": [owner_reference(model)],
        },
        "revision": _number(kept) if kept is not None else 1 + max(map(_number, revisions), default=0),
        "data": {"template": template},
    }
    others = sorted((other for other in revisions if other is not kept), key=_number)
    outdated = tuple(others[: max(0, len(others) + 1 - REVISIONS_KEPT)])
    return Frozen(name, template, revision, outdated)


def revision_of(body: Mapping[str, Any]) -> str:
    """The revision that a Deployment or a pod says it is of; empty when it says nothing."""
    return str(body["metadata"].get("annotations", {}).get(ANNOTATION_REVISION, ""))


def _find(revisions: Sequence[Body], name: str) -> Body | None:
    return next((revision for revision in revisions if revision["metadata"]["name"] == name), None)


def _number(revision: Mapping[str, Any]) -> int:
    return int(revision["revision"])


def _adopted(deployment: Mapping[str, Any] | None, name: str) -> Body | None:
    if deployment is None:
        return None
    template: Body = deployment["spec"]["template"]
    return template if revision_of(template) == name else None


def _marked(template: Body, name: str) -> Body:
    metadata = template.get("metadata", {})
    annotations = {**metadata.get("annotations", {}), ANNOTATION_REVISION: name}
    return {**template, "metadata": {**metadata, "annotations": annotations}}
