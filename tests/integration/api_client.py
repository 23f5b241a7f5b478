"""A small client of the API server for tests: plain dicts, and waiting by watching instead of sleeping."""

import contextlib
import json
import ssl
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx

Body = dict[str, Any]
APIS = {
    "neuronmodels": "/apis/neuron-serving.dev/v1alpha1",
    "deployments": "/apis/apps/v1",
    "controllerrevisions": "/apis/apps/v1",
    "poddisruptionbudgets": "/apis/policy/v1",
    "events": "/apis/events.k8s.io/v1",
    "customresourcedefinitions": "/apis/apiextensions.k8s.io/v1",
}


# How long something may take to come true: never waited out by a test that passes, so it need not be short.
WAIT_S = 60.0


class Api:
    """Requests with an administrator's rights, in one namespace unless told otherwise."""

    def __init__(self, kubeconfig: Path, namespace: str) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster, user = config["clusters"][0]["cluster"], config["users"][0]["user"]
        self.namespace = namespace
        self._client = httpx.Client(
            base_url=cluster["server"],
            verify=ssl.create_default_context(cafile=cluster["certificate-authority"]),
            headers={"Authorization": f"Bearer {user['token']}"},
            timeout=WAIT_S,
        )

    def close(self) -> None:
        self._client.close()

    def path(self, plural: str, name: str = "", *, is_namespaced: bool = True) -> str:
        root = APIS.get(plural, "/api/v1")
        namespace = f"/namespaces/{self.namespace}" if is_namespaced else ""
        return f"{root}{namespace}/{plural}" + (f"/{name}" if name else "")

    def create(self, plural: str, body: Body, *, is_namespaced: bool = True) -> Body:
        return self._answer("POST", self.path(plural, is_namespaced=is_namespaced), body)

    def try_create(self, plural: str, body: Body) -> httpx.Response:
        """What the API server answers to an object, storing nothing; unknown fields are refused, as kubectl asks."""
        return self._client.post(self.path(plural), json=body, params={"dryRun": "All", "fieldValidation": "Strict"})

    def get(self, plural: str, name: str) -> Body:
        return self._answer("GET", self.path(plural, name))

    def find(self, plural: str, name: str) -> Body | None:
        answer = self._client.get(self.path(plural, name))
        return None if answer.status_code == 404 else dict(answer.json())

    def serves(self, plural: str) -> bool:
        """Whether the API server knows the resource."""
        return self._client.get(self.path(plural)).status_code != 404

    def every(self, plural: str) -> list[Body]:
        return self._list(plural)[0]

    def replace(self, plural: str, name: str, body: Body) -> httpx.Response:
        return self._client.put(self.path(plural, name), json=body)

    def merge(self, plural: str, name: str, patch: Body, subresource: str = "", *, is_namespaced: bool = True) -> Body:
        path = self.path(plural, name, is_namespaced=is_namespaced) + subresource
        return self._answer("PATCH", path, patch, "application/merge-patch+json")

    def delete(self, plural: str, name: str, propagation: str = "Background", *, is_namespaced: bool = True) -> None:
        path = self.path(plural, name, is_namespaced=is_namespaced)
        self._answer("DELETE", path, {"propagationPolicy": propagation, "gracePeriodSeconds": 0})

    def wait_for(self, plural: str, name: str, holds: Callable[[Body], bool], timeout_s: float = WAIT_S) -> Body:
        """The object as soon as `holds` is true of it."""
        return self.wait_for_any(plural, f"metadata.name={name}", holds, timeout_s)

    def wait_for_any(
        self, plural: str, selector: str, holds: Callable[[Body], bool] = lambda body: True, timeout_s: float = WAIT_S
    ) -> Body:
        """The first object of a field selector that `holds` is true of."""
        last: Body | None = None
        deadline = time.monotonic() + timeout_s
        items, since = self._list(plural, selector)
        for last in items:
            if holds(last):
                return last
        for event in self._watch(plural, selector, since, deadline):
            last = event["object"]
            if event["type"] != "DELETED" and holds(last):
                return dict(last)
        raise AssertionError(
            f"{plural} {selector} did not get there in {timeout_s:.0f} s: {json.dumps(last, indent=1)}"
        )

    def wait_until_gone(self, plural: str, name: str, timeout_s: float = WAIT_S) -> None:
        deadline = time.monotonic() + timeout_s
        items, since = self._list(plural, f"metadata.name={name}")
        if not items:
            return
        for event in self._watch(plural, f"metadata.name={name}", since, deadline):
            if event["type"] == "DELETED":
                return
        raise AssertionError(f"{plural} {name} is still there after {timeout_s:.0f} s")

    def _list(self, plural: str, selector: str = "") -> tuple[list[Body], str]:
        only = f"?fieldSelector={selector}" if selector else ""
        answer = self._answer("GET", self.path(plural) + only)
        # The items of a list don't repeat what they are.
        what = {"apiVersion": answer["apiVersion"], "kind": answer["kind"].removesuffix("List")}
        return [{**what, **item} for item in answer["items"]], answer["metadata"]["resourceVersion"]

    def _watch(self, plural: str, selector: str, since: str, deadline: float) -> Iterator[Body]:
        remaining = max(1, int(deadline - time.monotonic() + 1))
        query = {
            "watch": "true",
            "fieldSelector": selector,
            "resourceVersion": since,
            "timeoutSeconds": str(remaining),
        }
        with (
            contextlib.suppress(httpx.ReadTimeout),
            self._client.stream("GET", self.path(plural), params=query, timeout=remaining + WAIT_S) as answer,
        ):
            for line in answer.iter_lines():
                yield json.loads(line)

    def _answer(self, method: str, path: str, body: Body | None = None, content_type: str = "application/json") -> Body:
        answer = self._client.request(
            method, path, content=json.dumps(body) if body is not None else None, headers={"Content-Type": content_type}
        )
        assert answer.status_code < 300, f"{method} {path}: {answer.text}"
        return dict(answer.json())


def condition(body: Body, kind: str = "Ready") -> Body:
    """The condition of that type; an empty one while there is none."""
    found = (c for c in body.get("status", {}).get("conditions", ()) if c["type"] == kind)
    return next(found, {})


def has_reason(reason: str) -> Callable[[Body], bool]:
    """Whether Ready has that reason, of the newest generation."""

    def holds(body: Body) -> bool:
        ready = condition(body)
        return ready.get("reason") == reason and ready["observedGeneration"] == body["metadata"]["generation"]

    return holds
