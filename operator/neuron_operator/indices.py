"""What the operator knows about the cluster without asking: the newest body of each object it watches.

Handlers put in what the watches deliver, the reconcile puts in what its own writes returned, so that it never decides
on something older than its last write. An older body never replaces a newer one. Children and pods are kept packed: the
half million Python objects that a thousand models' are would take eight times as much memory.
"""

import enum
import marshal
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final, NamedTuple

from neuron_operator import names

Body = dict[str, Any]

CHILD_KINDS: Final = ("Deployment", "Service", "PodDisruptionBudget", "ControllerRevision")
# Whose status decides nothing, and changes with every pod.
WITHOUT_STATUS: Final = ("Service", "PodDisruptionBudget")
# The Deployment controller's own count of templates, which it might as well have in the status.
COUNTED: Final = "deployment.kubernetes.io/revision"
POD_STATUS: Final = ("phase", "reason", "message", "conditions", "initContainerStatuses", "containerStatuses")
POD_SPEC: Final = ("nodeName", "schedulerName")
IDENTITY: Final = ("name", "uid", "resourceVersion")
HPA_METADATA: Final = ("name", "namespace", "uid", "resourceVersion", "ownerReferences")
HPA_SPEC: Final = ("scaleTargetRef", "minReplicas", "maxReplicas")
METADATA: Final = (
    "name", "namespace", "uid", "resourceVersion", "generation", "creationTimestamp", "deletionTimestamp", "labels",
    "annotations", "ownerReferences",
)  # fmt: skip
HPA: Final = "HorizontalPodAutoscaler"
# Whatever a late answer to a write of ours could be about; deletions of that many objects are remembered.
WRITTEN: Final = (names.KIND, *CHILD_KINDS)
DELETIONS_KEPT: Final = 1000
PACKED: Final = frozenset((*CHILD_KINDS, "Pod"))
# One for each version of each API group that the API server has; it writes those of the definitions itself.
API_SERVICE: Final = "APIService"


class Key(NamedTuple):
    """The NeuronModel to look at."""

    namespace: str
    name: str


class News(enum.IntEnum):
    """What of a body differs from the one that was known, versions aside; nothing is false.

    The number of its template, which the Deployment controller notes on a Deployment, counts as status.
    """

    NOTHING = 0
    STATUS = 1
    MORE = 2


class Entry(NamedTuple):
    """An object as it is kept; `models` are those that it concerns."""

    version: int
    models: tuple[Key, ...]
    content: Body | bytes

    @classmethod
    def of(cls, kind: str, body: Body) -> "Entry":
        content = marshal.dumps(body) if kind in PACKED else body
        return cls(version_of(body), tuple(model_keys(kind, body)), content)

    @property
    def body(self) -> Body:
        if not isinstance(self.content, bytes):
            return self.content
        unpacked: Body = marshal.loads(self.content)  # noqa: S302 - packed above, never from outside
        return unpacked


class Indices:
    """One dictionary per kind, by namespace and name."""

    def __init__(self) -> None:
        self._entries: dict[str, dict[Key, Entry]] = defaultdict(dict)
        self._of_model: dict[tuple[str, Key], set[Key]] = defaultdict(set)
        self._deleted: dict[tuple[str, Key], int] = {}

    def put(self, kind: str, body: Mapping[str, Any]) -> News:
        """Keep the body if it is a newer one; what differs from what was known."""
        at, version = key_of(body), version_of(body)
        known = self._entries[kind].get(at)
        if (known is not None and known.version >= version) or version < self._deleted.get((kind, at), 0):
            return News.NOTHING
        self._forget_model(kind, at)
        kept = trimmed(kind, body)
        entry = self._entries[kind][at] = Entry.of(kind, kept)
        for key in entry.models:
            self._of_model[kind, key].add(at)
        return _news(known.body, kept) if known is not None else News.MORE

    def drop(self, kind: str, body: Mapping[str, Any]) -> None:
        """Forget the object, unless a younger one of the same name is known already."""
        at, version = key_of(body), version_of(body)
        known = self._entries[kind].get(at)
        if kind in WRITTEN:
            self._remember_deletion((kind, at), version)
        if known is not None and known.version <= version:
            self._forget_model(kind, at)
            del self._entries[kind][at]

    def get(self, kind: str, at: Key) -> Body | None:
        known = self._entries[kind].get(at)
        return known.body if known is not None else None

    def every(self, kind: str) -> Iterable[Body]:
        return (entry.body for entry in self._entries[kind].values())

    def keys(self, kind: str) -> list[Key]:
        return list(self._entries[kind])

    def models_of(self, kind: str, at: Key) -> tuple[Key, ...]:
        """Those that the object concerns, as it is known."""
        known = self._entries[kind].get(at)
        return known.models if known is not None else ()

    def begin_list(self, kind: str, namespace: str = "") -> "Listing":
        """Everything that is known of the kind, in one namespace if one is named, is to be on a list."""
        return Listing(self._entries[kind], namespace)

    def of_model(self, kind: str, key: Key) -> list[Body]:
        """The objects of a kind that belong to a model, by owner or by label, in the order of their names."""
        return [self._entries[kind][at].body for at in sorted(self._of_model.get((kind, key), ()))]

    def _remember_deletion(self, of: tuple[str, Key], version: int) -> None:
        """The answer to a write may come after the watch told that the object is gone, and nobody would tell again."""
        self._deleted[of] = max(version, self._deleted.pop(of, 0))
        if len(self._deleted) > DELETIONS_KEPT:
            del self._deleted[next(iter(self._deleted))]

    def _forget_model(self, kind: str, at: Key) -> None:
        for key in self.models_of(kind, at):
            members = self._of_model[kind, key]
            members.discard(at)
            if not members:
                del self._of_model[kind, key]


class Listing:
    """One list of a kind, from before its request to its end: what was known before and is not in it is gone.

    No watch tells of what was deleted between a stream that ended (410 Gone) and the list that follows. What became
    known while the list was on its way, by the answer to a write of ours, is either younger than the list or was
    deleted before the list was read: nobody but the API server knows.
    """

    def __init__(self, entries: Mapping[Key, Entry], namespace: str) -> None:
        self._entries, self._namespace = entries, namespace
        self._known, self._seen = dict(self._of_namespace()), set[Key]()

    def saw(self, body: Mapping[str, Any]) -> None:
        self._seen.add(key_of(body))

    def gone(self) -> list[Body]:
        """Once the list has ended: what was not in it, as it was known."""
        return [entry.body for at, entry in self._known.items() if at not in self._seen]

    def unproven(self) -> list[Body]:
        """Once the list has ended: what became known meanwhile and was not in it."""
        return [
            entry.body
            for at, entry in self._of_namespace()
            if at not in self._seen and self._known.get(at) is not entry
        ]

    def _of_namespace(self) -> Iterator[tuple[Key, Entry]]:
        return ((at, entry) for at, entry in self._entries.items() if self._namespace in ("", at.namespace))


def model_keys(kind: str, body: Mapping[str, Any]) -> set[Key]:
    """The models an object concerns: its own key, its owner's, the one its label names, the one that it scales."""
    metadata = body["metadata"]
    if kind == names.KIND:
        return {key_of(body)}
    if kind == HPA:
        target = body.get("spec", {}).get("scaleTargetRef", {})
        return {Key(metadata["namespace"], target["name"])} if target.get("kind") == "Deployment" else set()
    return {Key(metadata.get("namespace", ""), name) for name in _model_names(metadata)}


def trimmed(kind: str, body: Mapping[str, Any]) -> Body:
    """What is worth keeping in memory of an object."""
    metadata = {name: value for name, value in body["metadata"].items() if name in METADATA}
    if kind == "Pod":
        status, spec = body.get("status", {}), body.get("spec", {})
        return {
            "metadata": metadata,
            "spec": {name: spec[name] for name in POD_SPEC if name in spec},
            "status": {name: status[name] for name in POD_STATUS if name in status},
        }
    if kind == "Node":
        return {"metadata": _node_metadata(metadata), **_node(body)}
    if kind == API_SERVICE:
        return {"metadata": _identity(metadata)}
    if kind == HPA:
        spec = body.get("spec", {})
        identity = {name: value for name, value in metadata.items() if name in HPA_METADATA}
        return {"metadata": identity, "spec": {name: spec[name] for name in HPA_SPEC if name in spec}}
    if kind in WITHOUT_STATUS:
        return {**{name: value for name, value in body.items() if name != "status"}, "metadata": metadata}
    return {**body, "metadata": metadata}


def _identity(metadata: Mapping[str, Any]) -> Body:
    return {name: metadata[name] for name in IDENTITY if name in metadata}


def _node_metadata(metadata: Mapping[str, Any]) -> Body:
    """All labels, because a model's nodeSelector may name any; of the annotations only the cores in use."""
    usage = metadata.get("annotations", {}).get(names.ANNOTATION_CORE_USAGE)
    annotations = {names.ANNOTATION_CORE_USAGE: usage} if usage is not None else {}
    return {**_identity(metadata), "labels": metadata.get("labels", {}), "annotations": annotations}


def _node(body: Mapping[str, Any]) -> Body:
    spec, allocatable = body.get("spec", {}), body.get("status", {}).get("allocatable", {})
    ready = [c.get("status") for c in body.get("status", {}).get("conditions", ()) if c.get("type") == "Ready"]
    resources = (names.RESOURCE_NEURONCORE, names.RESOURCE_NEURON)
    return {
        "spec": {"unschedulable": bool(spec.get("unschedulable")), "taints": spec.get("taints", [])},
        "status": {
            "allocatable": {name: allocatable[name] for name in resources if name in allocatable},
            "ready": ready == ["True"],
        },
    }


def _model_names(metadata: Mapping[str, Any]) -> Iterator[str]:
    if names.LABEL_MODEL in metadata.get("labels", {}):
        yield metadata["labels"][names.LABEL_MODEL]
    for owner in metadata.get("ownerReferences", ()):
        if owner["kind"] == names.KIND:
            yield owner["name"]


def key_of(body: Mapping[str, Any]) -> Key:
    """Namespace and name; the namespace is empty for what lives in none."""
    return Key(body["metadata"].get("namespace", ""), body["metadata"]["name"])


def state_of(kind: str, body: Mapping[str, Any]) -> tuple[str, Key, int]:
    """Which object it is, and in which state."""
    return kind, key_of(body), version_of(body)


def version_of(body: Mapping[str, Any]) -> int:
    """The resourceVersion, as the number it is."""
    # Versions are comparable integers within a resource, by the API's own guarantee since Kubernetes 1.35 (KEP-5504).
    return int(body["metadata"].get("resourceVersion", 0))


def _news(known: Body, body: Body) -> News:
    if _content(known) == _content(body):
        return News.NOTHING
    return News.STATUS if _meant(known) == _meant(body) else News.MORE


def _meant(body: Body) -> Body:
    """What controllers do not write of their own accord."""
    content = _content({**body, "status": None})
    annotations = {name: value for name, value in body["metadata"].get("annotations", {}).items() if name != COUNTED}
    return {**content, "metadata": {**content["metadata"], "annotations": annotations}}


def _content(body: Body) -> Body:
    return {**body, "metadata": {**body["metadata"], "resourceVersion": ""}}
