"""Which templates the operator brings to the Deployments, one after the other, and whether it might: told from what the
people asked for and from the order of things, not from what the operator remembers."""

from collections import defaultdict
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from fakes.cluster import Body
from fakes.watched_cluster import WatchedCluster
from neuron_operator.names import (
    ANNOTATION_COMPLETE,
    ANNOTATION_GIVEN_UP,
    ANNOTATION_UPGRADE,
    KIND,
)
from neuron_operator.revisions import intent_of, revision_of
from rollout_world import NAMESPACE

# What is edited without anybody asking for another version.
OUTSIDE_VERSION = ("replicas", "suspend", "rollout")


class Asked(NamedTuple):
    """What a model says of its versions."""

    is_automatic: bool
    rolls_back: bool


NOTHING = Asked(is_automatic=False, rolls_back=False)


@dataclass
class VersionsSeen:
    """`asked` is what each model said since the operator was last up to date, the newest last."""

    api: WatchedCluster
    violations: list[str] = field(default_factory=list)
    asked: dict[str, list[Asked]] = field(default_factory=lambda: defaultdict(list))
    # What was given up, and may not be again until somebody asks for something else.
    given_up: dict[str, set[str]] = field(default_factory=lambda: defaultdict(set))
    # Models whose templates somebody edited.
    edited: set[str] = field(default_factory=set)
    _wanted: dict[str, object] = field(default_factory=dict)

    # ---- what the people do

    def ask(self, name: str, spec: Body) -> None:
        asked = asked_by(spec)
        wanted = ({key: value for key, value in spec.items() if key not in OUTSIDE_VERSION}, asked.rolls_back)
        if self._wanted.get(name) != wanted:
            self.given_up.pop(name, None)
        self._wanted[name] = wanted
        self.asked[name].append(asked)

    def forget(self, name: str) -> None:
        """The model is gone, or what was noted of it may be."""
        self.asked[name].append(NOTHING)
        self.forget_notes(name)

    def forget_notes(self, name: str) -> None:
        self.given_up.pop(name, None)

    def release(self) -> None:
        """Another operator renders otherwise, which is another version of whatever upgrades by itself."""
        for name in [name for name, asked in self.asked.items() if any(each.is_automatic for each in asked)]:
            self.given_up.pop(name, None)

    def is_up_to_date(self, name: str) -> None:
        """The operator knows the newest of the model."""
        del self.asked[name][:-1]

    # ---- what the operator does

    def applied(self, before: Body | None, after: Body) -> None:
        if after["kind"] != "Deployment":
            return
        if note(after, ANNOTATION_UPGRADE) and not note(before, ANNOTATION_UPGRADE):
            self._judge_begin(after)
        if before is not None:
            self._judge_template(before, after)
            if note(after, ANNOTATION_GIVEN_UP) not in ("", note(before, ANNOTATION_GIVEN_UP)):
                self._judge_giving_up(before, after)

    def _judge_begin(self, after: Body) -> None:
        """Only one model of the cluster is on its way through an upgrade, and it said that it wants to be."""
        name = after["metadata"]["name"]
        others = [
            other
            for deployment in self.api.every("Deployment")
            if (other := deployment["metadata"]["name"]) != name and note(deployment, ANNOTATION_UPGRADE)
            if self._is_surely_automatic(other)
        ]
        if others:
            self.violations.append(f"{name} begins an upgrade while {others} are in the middle of theirs")
        if not any(asked.is_automatic for asked in self.asked[name]):
            self.violations.append(f"{name} begins an upgrade, but was to be left alone")

    def _judge_template(self, before: Body, after: Body) -> None:
        """The template of a Manual model is another only if the spec is, or on the way back from one."""
        name, (old, new) = after["metadata"]["name"], (body["spec"]["template"] for body in (before, after))
        is_on_the_way_back = any(note(body, ANNOTATION_GIVEN_UP) for body in (before, after))
        if old == new or intent_of(old) != intent_of(new) or is_on_the_way_back or name in self.edited:
            return
        if not any(asked.is_automatic for asked in self.asked[name]):
            self.violations.append(f"{name} is Manual and gets {revision_of(new)} in the place of {revision_of(old)}")

    def _judge_giving_up(self, before: Body, after: Body) -> None:
        """Once, by whom it is asked for, what runs, for the one that was complete."""
        name, version, runs = after["metadata"]["name"], note(after, ANNOTATION_GIVEN_UP), revision_of(_template(after))
        if version in self.given_up[name]:
            self.violations.append(f"{name} gives up {version} once more")
        if not any(asked.rolls_back for asked in self.asked[name]):
            self.violations.append(f"{name} gives up {version}, but was to keep it")
        if revision_of(_template(before)) != version or runs != note(after, ANNOTATION_COMPLETE) or runs == version:
            self.violations.append(f"{name} gives up {version} and goes back to {runs}: {after['metadata']}")
        self.given_up[name].add(version)

    def _is_surely_automatic(self, name: str) -> bool:
        body = self.api.find(KIND, NAMESPACE, name)
        is_there = body is not None and "deletionTimestamp" not in body["metadata"]
        return is_there and all(asked.is_automatic for asked in self.asked[name])


def asked_by(spec: Body) -> Asked:
    policy = spec.get("runtime", {}).get("upgradePolicy", "Manual")
    return Asked(policy == "Automatic", bool(spec.get("rollout", {}).get("autoRollback", False)))


def note(deployment: Body | None, annotation: str) -> str:
    """What is noted on the Deployment; empty for nothing."""
    return str(deployment["metadata"].get("annotations", {}).get(annotation, "")) if deployment is not None else ""


def _template(deployment: Body) -> dict[str, Any]:
    template: dict[str, Any] = deployment["spec"]["template"]
    return template
