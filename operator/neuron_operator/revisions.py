"""Freezes the pod template of a model in a ControllerRevision, and finds it again. Pure.

A running model keeps the template it was rendered with until the user changes what shapes its pods: a new operator with
another default image, probe or variable finds the old template under the same intent and leaves the pods alone. An
intent has several revisions only where an upgrade adopted another rendering of it; `versions.py` says when that may be,
and when an earlier revision is gone back to.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Final

from neuron_operator import names
from neuron_operator.api import NeuronModel
from neuron_operator.changes import desired_hash
from neuron_operator.records import recorded
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


@dataclass(frozen=True)
class Archive:
    """The templates of one model: its revisions, and the one that its Deployment runs."""

    model: NeuronModel
    revisions: Sequence[Body]
    deployment: Mapping[str, Any] | None

    def present(self, render: Callable[[], Body]) -> Frozen:
        """The template of the model's present intent; the first row that applies.

        | the Deployment                  | revisions of the intent | template                  |
        |---------------------------------|-------------------------|---------------------------|
        | is of a revision of the intent  | that one exists         | the revision's            |
        | is of a revision of the intent  | that one is lost        | the Deployment's, as it runs |
        | is of another, or there is none | exist                   | the newest one's          |
        | is of another, or there is none | none                    | rendered anew             |
        """
        own = {_name(revision): revision for revision in self._of_intent}
        name = next((name for name in self._running if name in own), "")
        if not name and self.deployment is not None:
            template: Body = self.deployment["spec"]["template"]
            if intent_of(template) == self.intent:
                return self._frozen(revision_of(template), template)
        newest = max(own.values(), key=_number, default=None)
        kept = own.get(name, newest)
        if kept is not None:
            return self._frozen(_name(kept), _template(kept))
        return self._frozen(self.intent, _marked(render(), {ANNOTATION_REVISION: self.intent}))

    def rendered_anew(self, render: Callable[[], Body], present: Frozen) -> Frozen | None:
        """Today's rendering of the intent as its newest revision; None when it is the present template.

        A revision that holds it already is used again: what it holds can't change, its number can.
        """
        fresh = render()
        if _is_rendering(present.template, fresh):
            return None
        same = [revision for revision in self._of_intent if _is_rendering(_template(revision), fresh)]
        if same:
            kept = max(same, key=_number)
            return self._frozen(_name(kept), _template(kept), is_newest=True)
        name = names.revision_name(self.model.name, desired_hash([self.intent, fresh]))
        marked = _marked(fresh, {ANNOTATION_REVISION: name, names.ANNOTATION_INTENT: self.intent})
        return self._frozen(name, marked, is_newest=True)

    def of_name(self, name: str) -> Frozen | None:
        """The revision of that name, also if only the Deployment has its template any more."""
        kept = next((revision for revision in self.revisions if _name(revision) == name), None)
        template = _template(kept) if kept is not None else self._running_template(name)
        return self._frozen(name, template) if name and template else None

    def running(self) -> Frozen | None:
        """The template that runs, for a model whose present intent can't be placed; without a Deployment the newest."""
        if self.deployment is not None:
            return self.of_name(revision_of(self.deployment["spec"]["template"]))
        newest = max(self.revisions, key=_number, default=None)
        return self.of_name(_name(newest)) if newest is not None else None

    @cached_property
    def intent(self) -> str:
        """The name of the revision that is rendered first for the present intent."""
        return names.revision_name(self.model.name, desired_hash(self.model.spec.template_intent()))

    @cached_property
    def _of_intent(self) -> list[Body]:
        intent = self.intent
        return [found for found in self.revisions if intent in (_name(found), intent_of(_template(found)))]

    @property
    def _running(self) -> tuple[str, ...]:
        """What was applied last is noted on the Deployment itself, where an edit of the template doesn't reach."""
        live = self.deployment
        return (revision_of(live), revision_of(live["spec"]["template"])) if live is not None else ()

    def _running_template(self, name: str) -> Body:
        template: Body = self.deployment["spec"]["template"] if self.deployment is not None else {}
        return template if template and revision_of(template) == name else {}

    def _frozen(self, name: str, template: Body, *, is_newest: bool = False) -> Frozen:
        model, kept = self.model, next((found for found in self.revisions if _name(found) == name), None)
        last = max(map(_number, self.revisions), default=0)
        is_raised = is_newest and kept is not None and _number(kept) < max(map(_number, self._of_intent))
        revision = {
            "apiVersion": "apps/v1",
            "kind": "ControllerRevision",
            "metadata": {
                "name": name,
                "namespace": model.namespace,
                "labels": names.child_labels(model.name),
                "ownerReferences": [owner_reference(model)],
            },
            "revision": _number(kept) if kept is not None and not is_raised else last + 1,
            "data": {"template": template},
        }
        return Frozen(name, template, revision, self._outdated(name))

    def _outdated(self, name: str) -> tuple[Body, ...]:
        """The oldest beyond the limit, but none that a rollback may need, nor one that is not this model's own."""
        others = sorted((found for found in self.revisions if _name(found) != name), key=_number)
        spare = others[: max(0, len(others) + 1 - REVISIONS_KEPT)]
        complete, uid = recorded(self.deployment).complete, self.model.metadata.uid
        return tuple(found for found in spare if _name(found) != complete and uid in _owners(found))


def revision_of(body: Mapping[str, Any]) -> str:
    """The revision that a Deployment or a pod says it is of; empty when it says nothing."""
    return str(body["metadata"].get("annotations", {}).get(ANNOTATION_REVISION, ""))


def intent_of(template: Mapping[str, Any]) -> str:
    """The name of the revision that was rendered first for the template's intent: its own, except after an upgrade."""
    annotations = template.get("metadata", {}).get("annotations", {})
    return str(annotations.get(names.ANNOTATION_INTENT) or annotations.get(ANNOTATION_REVISION, ""))


def _name(revision: Mapping[str, Any]) -> str:
    return str(revision["metadata"]["name"])


def _owners(revision: Mapping[str, Any]) -> list[str]:
    return [owner["uid"] for owner in revision["metadata"].get("ownerReferences", ())]


def _number(revision: Mapping[str, Any]) -> int:
    return int(revision["revision"])


def _template(revision: Mapping[str, Any]) -> Body:
    found: Body = revision.get("data", {}).get("template", {})
    return found


def _is_rendering(frozen: Body, fresh: Body) -> bool:
    """Whether the frozen template is what was rendered, our marks aside."""
    metadata = frozen.get("metadata", {})
    kept = {
        name: value
        for name, value in metadata.get("annotations", {}).items()
        if name not in (ANNOTATION_REVISION, names.ANNOTATION_INTENT)
    }
    bare = {name: value for name, value in metadata.items() if name != "annotations"}
    if kept:
        bare["annotations"] = kept
    return desired_hash({**frozen, "metadata": bare}) == desired_hash(fresh)


def _marked(template: Body, marks: Mapping[str, str]) -> Body:
    metadata = template.get("metadata", {})
    return {**template, "metadata": {**metadata, "annotations": {**metadata.get("annotations", {}), **marks}}}
