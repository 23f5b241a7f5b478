"""A cluster in memory: applies are upserts, every call is recorded, failures can be put in. New for every test."""

import copy
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from neuron_operator import errors
from neuron_operator.cluster import Ref

Body = dict[str, Any]


@dataclass
class FakeCluster:
    """What exists, what was asked for, and the failures to raise instead: once each, by call and kind."""

    objects: dict[Ref, Body] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    failures: dict[tuple[str, str], errors.ApiError] = field(default_factory=dict)
    pods: dict[str, list[Body]] = field(default_factory=dict)
    events: list[Body] = field(default_factory=list)
    _version: int = 100

    def put(self, body: Body) -> Body:
        """As somebody else would write it."""
        self._version += 1
        stored = copy.deepcopy(body)
        stored["metadata"].setdefault("uid", f"uid-{self._version}")
        stored["metadata"]["resourceVersion"] = str(self._version)
        self.objects[Ref.of(body)] = stored
        return copy.deepcopy(stored)

    async def apply(self, body: Body, live: Body | None) -> Body:
        self._called("apply", body["kind"])
        stored = self.objects.get(Ref.of(body))
        if _read(stored) != _read(live):
            raise errors.ConflictError("precondition failed", 409)
        metadata = {**body["metadata"], **({"uid": live["metadata"]["uid"]} if live else {})}
        return self.put({**(stored or {}), **body, "metadata": metadata})

    async def apply_alone(self, body: Body, live: Body) -> Body:
        return await self.apply(body, live)

    async def set_owners(self, ref: Ref, live: Body, owners: list[Body]) -> Body:
        self._called("set_owners", ref.kind)
        stored = await self.get(ref)
        if _read(stored) != _read(live):
            raise errors.ConflictError("precondition failed", 409)
        return self.put({**stored, "metadata": {**stored["metadata"], "ownerReferences": owners}})

    async def patch(self, live: Body, operations: Sequence[Body]) -> Body:
        self._called("patch", live["kind"])
        return live

    async def get(self, ref: Ref) -> Body:
        if ref not in self.objects:
            raise errors.NotFoundError(f"{ref} not found", 404)
        return copy.deepcopy(self.objects[ref])

    async def delete(self, ref: Ref, live: Body) -> None:
        self._called("delete", ref.kind)
        stored = self.objects.pop(ref, None)
        if stored is not None and _read(stored) != _read(live):
            self.objects[ref] = stored
            raise errors.ConflictError("precondition failed", 409)

    async def write_status(self, model: Mapping[str, Any], status: Body) -> Body:
        self._called("write_status", model["kind"])
        return self.put({**model, "status": status})

    async def post_event(self, event: Body) -> None:
        self._called("post_event", event["reason"])
        self.events.append(event)

    async def list_pods_on(self, node: str) -> list[Body]:
        self._called("list_pods_on", node)
        return self.pods.get(node, [])

    def _called(self, what: str, kind: str) -> None:
        self.calls.append((what, kind))
        failure = self.failures.pop((what, kind), None)
        if failure is not None:
            raise failure


def _read(body: Body | None) -> tuple[str, str] | None:
    """Which object it is, and in which state."""
    return (body["metadata"]["uid"], body["metadata"]["resourceVersion"]) if body is not None else None
