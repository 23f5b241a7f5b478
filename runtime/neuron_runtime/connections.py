"""Which client connections have had their time, and which one makes room for another.

There is no timer per request: once a second `http_server` asks every connection where it stands, and one that has not
moved since is as old as its stay there. What a connection then does is its own (`http_protocol`). No clock in here.
"""

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum
from typing import Protocol, TypeAlias

CONNECTION_ENDS = (
    "head-timeout",
    "body-timeout",
    "reply-timeout",
    "head-too-large",
    "pipelined",
    "invalid",
    "evicted",
    "surplus",
)
"""Every cause of ending a connection, or refusing what it says, that is counted."""
SEARCH_SECONDS = 0.1
"""How often all connections are looked through for idle ones while every place is taken."""
LINGER_SECONDS = 1.0
"""How long an ended connection waits for the client to say more, or that it has read everything."""
LAST_REQUEST_SECONDS = 2.0
"""While draining: how long after its last sign of life a connection may still bring a request."""


class Phase(Enum):
    IDLE = "between requests, or before the first"
    HEAD = "the head of a request has begun to arrive"
    REST = "answered, and the rest of its body still arrives"
    BUSY = "the server's turn, and each request has its own deadline"
    REPLY = "the client does not take its reply"
    ENDED = "everything is said, the client has yet to close"


Stand: TypeAlias = tuple[Phase, int]
"""Where a connection stands. The number changes with each request, or with each byte where bytes are progress."""


class ClientConnection(Protocol):
    def stand(self) -> Stand: ...

    def expire(self, phase: Phase) -> None:
        """Its time in this phase is over."""

    def evict(self) -> None:
        """Close for the sake of another connection; in an idle phase only."""


@dataclass(frozen=True)
class ConnectionLimits:
    """`open` connections at once; seconds for a request's head, for its body as for its reply, and between requests."""

    open: int
    head_seconds: float
    body_seconds: float
    idle_seconds: float


@dataclass(slots=True)
class _Seen:
    stand: Stand
    since: float


class Connections:
    """All open ones. `count` is told why one was ended, in a word of CONNECTION_ENDS."""

    def __init__(self, limits: ConnectionLimits, count: Callable[[str], None]) -> None:
        self.limits = limits
        self.count = count
        self.is_draining = False
        self._seen: dict[ClientConnection, _Seen] = {}
        self._evictable: deque[tuple[ClientConnection, Stand]] = deque()
        self._next_search = 0.0
        self._seconds = {
            Phase.IDLE: limits.idle_seconds,
            Phase.HEAD: limits.head_seconds,
            Phase.REST: limits.body_seconds,
            Phase.REPLY: limits.body_seconds,
            Phase.ENDED: LINGER_SECONDS,
        }

    def __len__(self) -> int:
        return len(self._seen)

    def __iter__(self) -> Iterator[ClientConnection]:
        return iter(self._seen)

    def opened(self, connection: ClientConnection, now: float) -> bool:
        """Whether there is a place for it, made if need be by closing the connection that has been idle for longest."""
        self._seen[connection] = _Seen(connection.stand(), now)
        while len(self._seen) > self.limits.open:
            longest_idle = self._next_evictable(now, connection)
            if longest_idle is None:
                return False
            self.closed(longest_idle)
            self.count("evicted")
            longest_idle.evict()
        return True

    def closed(self, connection: ClientConnection) -> None:
        self._seen.pop(connection, None)

    def drain(self) -> None:
        """From now on only a connection that was alive a moment ago may bring another request."""
        self.is_draining = True
        self._seconds[Phase.IDLE] = min(LAST_REQUEST_SECONDS, self.limits.idle_seconds)

    def sweep(self, now: float) -> None:
        """End what has stood still for too long."""
        for connection, seen in list(self._seen.items()):
            if self._has_moved(connection, seen, now):
                continue
            phase = seen.stand[0]
            if phase in self._seconds and now - seen.since >= self._seconds[phase]:
                connection.expire(phase)

    def _next_evictable(self, now: float, newcomer: ClientConnection) -> ClientConnection | None:
        if not self._evictable and now >= self._next_search:
            self._next_search = now + SEARCH_SECONDS
            self._search(now, newcomer)
        while self._evictable:
            connection, stand = self._evictable.popleft()
            if connection in self._seen and connection.stand() == stand:
                return connection
        return None

    def _search(self, now: float, newcomer: ClientConnection) -> None:
        """Those the server owes nothing: first the ended ones, then by how long they have said nothing."""
        found: list[tuple[bool, float, ClientConnection]] = []
        for connection, seen in self._seen.items():
            self._has_moved(connection, seen, now)
            phase = seen.stand[0]
            if phase in (Phase.IDLE, Phase.HEAD, Phase.ENDED) and connection is not newcomer:
                found.append((phase is not Phase.ENDED, seen.since, connection))
        found.sort(key=lambda each: each[:2])
        self._evictable.extend((connection, self._seen[connection].stand) for _, _, connection in found)

    @staticmethod
    def _has_moved(connection: ClientConnection, seen: _Seen, now: float) -> bool:
        stand = connection.stand()
        if stand == seen.stand:
            return False
        seen.stand, seen.since = stand, now
        return True
