"""A cluster in memory that behaves as its clients rely on: generations, merged applies, preconditions, answers on the
way and lost ones, and a watch that tells of every change."""

import asyncio
import copy
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from fakes.cluster import Body, FakeCluster
from neuron_operator import errors
from neuron_operator.cluster import Ref

LATENCY_S = 0.01
Told = Callable[[str, Body | None, Body | None], None]
QUOTA = '{kind} "{name}" is forbidden: exceeded quota: objects, requested: 1, used: 9, limited: 9'


@dataclass
class WatchedCluster(FakeCluster):
    """`put` and `remove` are anybody's; the other methods are the operator's, and what it wrote stands in `writes`.

    `told` hears of each change with the object before and after it, `applied` of those that the operator applied. A
    call in `lost_answers` is carried out, and its answer never arrives. Of the kinds in `full` the namespace's quota
    lets nobody create another. What is read is what is stored: whoever changes it makes a copy.
    """

    told: Told = lambda kind, before, after: None
    asked: Callable[[Body], None] = lambda body: None
    applied: Callable[[Body | None, Body], None] = lambda before, after: None
    lost_answers: set[tuple[str, str]] = field(default_factory=set)
    writes: list[tuple[str, str, str]] = field(default_factory=list)
    full: set[str] = field(default_factory=set)
    refusals: int = 0
    changes: int = 0
    _applied: dict[Ref, Body] = field(default_factory=dict)

    def every(self, kind: str) -> list[Body]:
        return [body for ref, body in self.objects.items() if ref.kind == kind]

    def find(self, kind: str, namespace: str, name: str) -> Body | None:
        return self.objects.get(Ref(kind, namespace, name))

    def put(self, body: Body) -> Body:
        """Store it; what changes nothing is no new version, and only another spec is another generation."""
        ref = Ref.of(body)
        before = self.objects.get(ref)
        metadata = {**body["metadata"], "generation": 1}
        if before is not None:
            metadata["generation"] = before["metadata"]["generation"] + (before.get("spec") != body.get("spec"))
            metadata |= {name: before["metadata"][name] for name in ("uid", "resourceVersion")}
            if {**body, "metadata": metadata} == before:
                return before
        self._version += 1
        self.changes += 1
        stored = copy.deepcopy({**body, "metadata": {"uid": f"uid-{self._version}", **metadata}})
        stored["metadata"]["resourceVersion"] = str(self._version)
        self.objects[ref] = stored
        self.told(ref.kind, before, stored)
        return stored

    def remove(self, ref: Ref) -> None:
        """Gone at once, whatever it owned."""
        self._version += 1
        self.changes += 1
        body = self.objects.pop(ref)
        self._applied.pop(ref, None)
        body = {**body, "metadata": {**body["metadata"], "resourceVersion": str(self._version)}}
        self.told(ref.kind, body, None)

    async def apply(self, body: Body, live: Body | None) -> Body:
        await self._travel("apply", body)
        self.asked(body)
        ref = Ref.of(body)
        stored = self._expect(ref, live)
        if stored is None and ref.kind in self.full:
            self.refusals += 1
            raise errors.ForbiddenError(QUOTA.format(kind=ref.kind, name=ref.name), 403)
        merged = _without(stored or {}, self._applied.get(ref, {}), body)
        answer = self.put(_merged(merged, body))
        self._applied[ref] = body
        self.applied(stored, answer)
        return await self._answer("apply", ref, answer)

    async def set_owners(self, ref: Ref, live: Body, owners: list[Body]) -> Body:
        await self._travel("set_owners", live | {"kind": ref.kind})
        stored = self._expect(ref, live)
        assert stored is not None, "what is expected to exist exists"
        answer = self.put({**stored, "metadata": {**stored["metadata"], "ownerReferences": owners}})
        return await self._answer("set_owners", ref, answer)

    async def get(self, ref: Ref) -> Body:
        await asyncio.sleep(LATENCY_S)
        return await super().get(ref)

    async def delete(self, ref: Ref, live: Body) -> None:
        await self._travel("delete", live | {"kind": ref.kind})
        if ref in self.objects:
            self._expect(ref, live)
            self.remove(ref)
        await self._answer("delete", ref, live)

    async def write_status(self, model: Mapping[str, Any], status: Body) -> Body:
        await self._travel("write_status", model)
        ref = Ref.of(model)
        if ref not in self.objects:
            raise errors.NotFoundError(f"{ref} not found", 404)
        stored = self._expect(ref, dict(model))
        return await self._answer("write_status", ref, self.put({**(stored or {}), "status": status}))

    async def post_event(self, event: Body) -> None:
        await asyncio.sleep(LATENCY_S)
        await super().post_event(event)

    async def list_pods_on(self, node: str) -> list[Body]:
        await asyncio.sleep(LATENCY_S)
        self._called("list_pods_on", node)
        alive = [pod for pod in self.every("Pod") if pod["status"]["phase"] not in ("Succeeded", "Failed")]
        return [pod for pod in alive if pod["spec"].get("nodeName", "") == node]

    async def _travel(self, what: str, body: Mapping[str, Any]) -> None:
        await asyncio.sleep(LATENCY_S)
        self.writes.append((what, body["kind"], body["metadata"]["name"]))
        self._called(what, body["kind"])

    async def _answer(self, what: str, ref: Ref, answer: Body) -> Body:
        await asyncio.sleep(LATENCY_S)
        if (what, ref.kind) in self.lost_answers:
            self.lost_answers.discard((what, ref.kind))
            raise errors.UnreachableError("the answer is lost")
        return answer

    def _expect(self, ref: Ref, live: Body | None) -> Body | None:
        stored = self.objects.get(ref)
        if stored is not None and live is not None and _version(stored) == _version(live):
            return stored
        if stored is None and live is None:
            return None
        raise errors.ConflictError(f"{ref} is not as it was read", 409)


def _version(body: Body) -> tuple[str, str]:
    return body["metadata"]["uid"], body["metadata"]["resourceVersion"]


def _merged(stored: Body, applied: Mapping[str, Any]) -> Body:
    """Maps are merged, lists replaced."""
    merged = dict(stored)
    for name, value in applied.items():
        is_map = isinstance(value, Mapping) and isinstance(merged.get(name), Mapping)
        merged[name] = _merged(merged[name], value) if is_map else copy.deepcopy(value)
    return merged


def _without(stored: Body, before: Mapping[str, Any], applied: Mapping[str, Any]) -> Body:
    """Less the fields that the same writer applied before and applies no more."""
    left = dict(stored)
    for name, value in before.items():
        if name not in applied:
            left.pop(name, None)
        elif all(isinstance(part, Mapping) for part in (value, applied[name], left.get(name))):
            left[name] = _without(left[name], value, applied[name])
    return left
