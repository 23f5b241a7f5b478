"""Which first lists are still to come, each object of them included, so that nobody decides on half of it. Pure.

A namespace that may not be read holds up nothing but itself: the others are complete without it. Once it may be read,
all its lists must have come before anything is decided there.
"""

from collections.abc import Iterable

from neuron_operator.indices import Key
from neuron_operator.scope import EVERYWHERE, Stream


class FirstLists:
    """Told by `handlers.Feed` what was listed and what is known of it."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        self._unlisted, self._refused = set(streams), set[Stream]()
        self._unread: dict[str, set[tuple[str, Key]]] = {stream.namespace: set() for stream in self._unlisted}

    def expect(self, stream: Stream, key: Key) -> None:
        """The object is on a list of the stream."""
        self._unread[stream.namespace].add((stream.kind, key))

    def read(self, kind: str, key: Key) -> None:
        """The object is known, or known to be gone."""
        for namespace in (EVERYWHERE, key.namespace):
            self._unread.get(namespace, set()).discard((kind, key))

    def listed(self, stream: Stream) -> None:
        self._unlisted.discard(stream)
        self._refused.discard(stream)

    def refuse(self, stream: Stream) -> None:
        """The stream's namespace may not be read: its next list counts as its first one."""
        self._unlisted.add(stream)
        self._refused.add(stream)

    @property
    def refused_namespaces(self) -> set[str]:
        return {stream.namespace for stream in self._refused}

    @property
    def missing(self) -> set[Stream]:
        """What has not come or is not known yet, refused namespaces apart."""
        unread = (Stream(kind, namespace) for namespace, found in self._unread.items() for kind, _ in found)
        refused = self.refused_namespaces
        return {stream for stream in (*self._unlisted, *unread) if stream.namespace not in refused}

    @property
    def are_complete(self) -> bool:
        """Whether nothing is missing."""
        refused = self.refused_namespaces
        return not any(self._lacks(namespace) for namespace in self._unread if namespace not in refused)

    def are_complete_in(self, namespace: str) -> bool:
        """Whether all is known that belongs to the models there."""
        return namespace not in self._unread or not self._lacks(namespace)

    def _lacks(self, namespace: str) -> bool:
        return bool(self._unread[namespace]) or any(stream.namespace == namespace for stream in self._unlisted)
