"""When what was seen: a watch in a thread of its own, which notes the moment of every event of a collection."""

import json
import threading
import time
from collections import defaultdict, deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from bench.errors import BenchError
from local_control_plane.client import Client, Watch

Body = dict[str, Any]
# Of each object; nobody asks for what happened longer ago.
KEPT = 100


@dataclass(frozen=True)
class Sighting:
    """`at` is on the monotonic clock; `body` is None once the object is gone."""

    at: float
    version: int
    body: Body | None


class Sightings:
    """The newest events of each object of a collection, by name."""

    def __init__(self, items: list[Body], holds: Callable[[Body], bool]) -> None:
        self._holds = holds
        self._changed = threading.Condition()
        self._seen: defaultdict[str, deque[Sighting]] = defaultdict(lambda: deque(maxlen=KEPT))
        self._holding: set[str] = set()
        self.last_change_at = time.monotonic()
        for item in items:
            self.note("ADDED", item)

    def note(self, kind: str, body: Body) -> None:
        name, is_gone = body["metadata"]["name"], kind == "DELETED"
        with self._changed:
            self.last_change_at = time.monotonic()
            version = int(body["metadata"]["resourceVersion"])
            self._seen[name].append(Sighting(self.last_change_at, version, None if is_gone else body))
            if not is_gone and self._holds(body):
                self._holding.add(name)
            else:
                self._holding.discard(name)
            self._changed.notify_all()

    def newest(self, name: str) -> Body:
        with self._changed:
            found = self._seen[name][-1].body
        assert found is not None, f"{name} is there"
        return found

    def are_all(self, names: set[str]) -> bool:
        """Whether it holds of each of them now."""
        with self._changed:
            return names <= self._holding

    def wait_for_all(self, names: set[str], timeout_s: float) -> float:
        """The moment of the event with which the last of them came to hold."""
        with self._changed:
            if not self._changed.wait_for(lambda: names <= self._holding, timeout_s):
                missing = sorted(names - self._holding)
                seen = self._seen[missing[0]]
                raise BenchError(
                    f"{len(missing)} of {len(names)} did not get there in {timeout_s:.0f} s, such as {missing[0]}: "
                    f"{json.dumps(seen[-1].body) if seen else 'never seen'}"
                )
            return self.last_change_at

    def wait_after(self, name: str, version: int, holds: Callable[[Body], bool], timeout_s: float) -> float | None:
        """The moment of the first event after that version of which it holds; None if there is none in time."""
        with self._changed:
            self._changed.wait_for(lambda: self._after(name, version, holds) is not None, timeout_s)
            return self._after(name, version, holds)

    def _after(self, name: str, version: int, holds: Callable[[Body], bool]) -> float | None:
        found = (s.at for s in self._seen[name] if s.version > version and s.body is not None and holds(s.body))
        return next(found, None)


@contextmanager
def watched(client: Client, path: str, holds: Callable[[Body], bool] = lambda body: True) -> Iterator[Sightings]:
    """What is in the collection and what changes in it, until the end of the block."""
    listed = client.request("GET", path)
    sightings = Sightings(listed["items"], holds)
    watch = client.watch(path, listed["metadata"]["resourceVersion"])
    thread = threading.Thread(target=_follow, args=(watch, sightings), daemon=True)
    thread.start()
    try:
        yield sightings
    finally:
        watch.close()
        thread.join(timeout=10)


def _follow(watch: Watch, sightings: Sightings) -> None:
    for event in watch:
        if event["type"] in ("ADDED", "MODIFIED", "DELETED"):
            sightings.note(event["type"], event["object"])
