"""Which first lists are still to come, so that nobody decides on half of the cluster. Pure.

A namespace that may not be read holds up nothing but itself: the others are complete without it. Once it may be read,
all its lists must have come before anything is decided there.
"""

from collections.abc import Iterable

from neuron_operator.scope import Stream


class FirstLists:
    """Told by `handlers.Feed` what was listed, and what may not be."""

    def __init__(self, streams: Iterable[Stream]) -> None:
        self._unlisted, self._refused = set(streams), set[Stream]()

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
        """What has not come yet, refused namespaces apart."""
        refused = self.refused_namespaces
        return {stream for stream in self._unlisted if stream.namespace not in refused}

    def are_complete_in(self, namespace: str) -> bool:
        """Whether all is known that belongs to the models there."""
        return not any(stream.namespace == namespace for stream in self._unlisted)
