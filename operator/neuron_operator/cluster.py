"""The operator's only door to the API server: plain dicts in and out, its errors mapped to ours.

The reconcile writes through the `Cluster` protocol; `ApiCluster` is the real one, tests/fakes has one in memory.
Nothing else imports `kubernetes`. It retries nothing and caches nothing: the work queue and the indices do.
"""

import asyncio
import json
import re
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlencode, urlsplit
from urllib.request import getproxies, proxy_bypass

import aiohttp
from kubernetes.aio.client.api_client import ApiClient
from kubernetes.aio.client.configuration import Configuration
from kubernetes.aio.config import ConfigException, load_incluster_config, load_kube_config
from pydantic_core import from_json

from neuron_operator import __version__, errors
from neuron_operator.names import API_VERSION, FIELD_MANAGER, KIND, PLURAL

Body = dict[str, Any]
RequestObserver = Callable[[str, str, int, float], None]

REQUEST_TIMEOUT_S: Final = 10.0
LIST_CHUNK: Final = 500
# What the API server answers with 500 when an admission webhook can't be asked and must be.
WEBHOOK_FAILED: Final = "failed calling webhook"
SURROGATES: Final = re.compile(r"\\ud[89ab][0-9a-f]{2}\\ud[c-f][0-9a-f]{2}")
JSON, MERGE, JSON_PATCH, APPLY = (
    "application/json",
    "application/merge-patch+json",
    "application/json-patch+json",
    "application/apply-patch+yaml",
)
RESOURCES: Final[Mapping[str, tuple[str, str]]] = {
    KIND: (API_VERSION, PLURAL),
    "Deployment": ("apps/v1", "deployments"),
    "ControllerRevision": ("apps/v1", "controllerrevisions"),
    "Service": ("v1", "services"),
    "PodDisruptionBudget": ("policy/v1", "poddisruptionbudgets"),
    "Pod": ("v1", "pods"),
    "Node": ("v1", "nodes"),
    "Event": ("events.k8s.io/v1", "events"),
    "Lease": ("coordination.k8s.io/v1", "leases"),
    "HorizontalPodAutoscaler": ("autoscaling/v2", "horizontalpodautoscalers"),
    "APIService": ("apiregistration.k8s.io/v1", "apiservices"),
}


@dataclass(frozen=True)
class Ref:
    """The address of one object."""

    kind: str
    namespace: str
    name: str

    @classmethod
    def of(cls, body: Mapping[str, Any]) -> "Ref":
        return cls(body["kind"], body["metadata"].get("namespace", ""), body["metadata"]["name"])


@dataclass(frozen=True)
class Credentials:
    """What another client of this process needs to reach the same API server."""

    server: str
    ca_path: str | None
    certificate_path: str | None
    private_key_path: str | None
    token: str | None
    proxy: str | None


class Cluster(Protocol):
    """What the reconcile needs from the API server, and no more."""

    async def apply(self, body: Body, live: Body | None) -> Body:
        """Server-side apply with force, unless the object has changed since `live`; without one it must not exist."""

    async def set_owners(self, ref: Ref, live: Body, owners: list[Body]) -> Body:
        """Replace the owner references, unless the object has changed since."""

    async def patch(self, live: Body, operations: Sequence[Body]) -> Body:
        """Carry out a JSON patch, unless the object has changed since."""

    async def get(self, ref: Ref) -> Body:
        """The object as it is now."""

    async def apply_alone(self, body: Body, live: Body) -> Body:
        """Apply, and give up whatever an earlier patch of ours left us owning besides."""

    async def delete(self, ref: Ref, live: Body) -> None:
        """Delete in the background, unless the object has changed since; gone already is fine."""

    async def write_status(self, model: Mapping[str, Any], status: Body) -> Body:
        """Replace the status, unless the object has changed since `model` was read."""

    async def post_event(self, event: Body) -> None:
        """Create the event, or count it once more."""

    async def list_pods_on(self, node: str) -> list[Body]:
        """Every pod that holds resources on the node, of whoever; for the empty name those that have no node yet."""


class ApiCluster:
    """The real API server, over one HTTP connection pool."""

    def __init__(self, configuration: Configuration, observe: RequestObserver | None = None, replica: str = "") -> None:
        self._client = ApiClient(configuration)
        # The replicas share a service account; an audit log tells them apart by this.
        self._client.user_agent = f"neuron-serving-operator/{__version__}" + (f" ({replica})" if replica else "")
        self._observe = observe or (lambda verb, resource, code, seconds: None)

    @classmethod
    async def connect(
        cls, kubeconfig: Path | None, observe: RequestObserver | None = None, replica: str = ""
    ) -> "ApiCluster":
        """With the kubeconfig where one is given, else with the pod's service account."""
        configuration = Configuration()
        # Whoever trusts the environment also reads ~/.netrc, in a thread, before each request.
        configuration.client_session_kwargs = {"trust_env": False}
        try:
            if kubeconfig is None:
                load_incluster_config(configuration)
            else:
                await load_kube_config(str(kubeconfig), client_configuration=configuration, persist_config=False)
        except ConfigException as error:
            raise errors.UnreachableError(f"{kubeconfig or 'the service account'}: {error}") from error
        configuration.proxy = configuration.proxy or _proxy_of(configuration.host)
        return cls(configuration, observe, replica)

    async def credentials(self) -> Credentials:
        """Fresh ones: a service account's token is read again once it has aged."""
        configuration = self._client.configuration
        bearer = (await configuration.auth_settings()).get("BearerToken", {}).get("value")
        return Credentials(
            server=configuration.host,
            ca_path=configuration.ssl_ca_cert,
            certificate_path=configuration.cert_file,
            private_key_path=configuration.key_file,
            token=bearer.split(" ", 1)[-1] if bearer else None,
            proxy=configuration.proxy,
        )

    async def close(self) -> None:
        await self._client.close()

    async def apply(self, body: Body, live: Body | None) -> Body:
        query = {"fieldManager": FIELD_MANAGER, "force": "true"}
        # No object ever has version 1: the apply creates, or fails with a conflict when something of that name exists.
        precondition = _as_read(live) if live is not None else {"resourceVersion": "1"}
        body = {**body, "metadata": {**body["metadata"], **precondition}}
        return await self._request("PATCH", Ref.of(body), query=query, body=body, content_type=APPLY)

    async def set_owners(self, ref: Ref, live: Body, owners: list[Body]) -> Body:
        patch = {"metadata": {**_as_read(live), "ownerReferences": owners}}
        query = {"fieldManager": FIELD_MANAGER}
        return await self._request("PATCH", ref, query=query, body=patch, content_type=MERGE)

    async def patch(self, live: Body, operations: Sequence[Body]) -> Body:
        # A version that is put in place loses with a conflict; one that is only tested is answered as a bad request.
        version = live["metadata"]["resourceVersion"]
        patch = [{"op": "replace", "path": "/metadata/resourceVersion", "value": version}, *operations]
        query = {"fieldManager": FIELD_MANAGER}
        return await self._request("PATCH", Ref.of(live), query=query, body=patch, content_type=JSON_PATCH)

    async def apply_alone(self, body: Body, live: Body) -> Body:
        applied = await self.apply(body, live)
        owners = applied["metadata"].get("managedFields", [])
        # A field that another entry of ours owns too would stay when we stop applying it.
        kept = [o for o in owners if o.get("operation") == "Apply" or o.get("manager") != FIELD_MANAGER]
        return await self.patch(applied, [{"op": "replace", "path": "/metadata/managedFields", "value": kept}])

    async def delete(self, ref: Ref, live: Body) -> None:
        options = {"preconditions": _as_read(live), "propagationPolicy": "Background"}
        with suppress(errors.NotFoundError):
            await self._request("DELETE", ref, body=options)

    async def write_status(self, model: Mapping[str, Any], status: Body) -> Body:
        metadata = model["metadata"]
        # The version makes a write that was decided on an older object lose with a conflict.
        patch = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": metadata["resourceVersion"]},
            {"op": "add", "path": "/status", "value": status},
        ]
        ref = Ref(KIND, metadata["namespace"], metadata["name"])
        query = {"fieldManager": FIELD_MANAGER}
        return await self._request("PATCH", ref, "/status", query=query, body=patch, content_type=JSON_PATCH)

    async def post_event(self, event: Body) -> None:
        ref = Ref.of(event)
        try:
            await self.create(event)
        except errors.ConflictError:
            known = await self._request("GET", ref)
            count = int((known.get("series") or {}).get("count", 1)) + 1
            series = {"count": count, "lastObservedTime": event["eventTime"]}
            await self._request("PATCH", ref, body={"series": series}, content_type=MERGE)

    async def list_pods_on(self, node: str) -> list[Body]:
        selector = f"spec.nodeName={node},status.phase!=Succeeded,status.phase!=Failed"
        return await self.list("Pod", field_selector=selector)

    async def get(self, ref: Ref) -> Body:
        return await self._request("GET", ref)

    async def create(self, body: Body) -> Body:
        ref = Ref.of(body)
        return await self._request("POST", Ref(ref.kind, ref.namespace, ""), body=body)

    async def replace(self, body: Body) -> Body:
        """Put `body` in the place of the object, unless that has changed since it was read."""
        return await self._request("PUT", Ref.of(body), body=body)

    async def serves_models(self, namespace: str = "") -> bool:
        """Whether the API server answers, and knows our kind; raises when it doesn't answer or may not be asked."""
        try:
            await self._request("GET", Ref(KIND, namespace, ""), query={"limit": "1"})
        except errors.NotFoundError:
            return False
        return True

    async def served_kinds(self, api_version: str) -> frozenset[str]:
        """The kinds of one version of an API group; none where the API server does not know it."""
        try:
            found = await self._exchange("GET", f"/apis/{api_version}", "discovery", None, JSON)
        except errors.NotFoundError:
            return frozenset()
        return frozenset(resource["kind"] for resource in found["resources"])

    async def list(
        self, kind: str, namespace: str = "", label_selector: str = "", field_selector: str = ""
    ) -> list[Body]:
        """All objects of the kind that match, read in chunks."""
        query = {"limit": str(LIST_CHUNK), "labelSelector": label_selector, "fieldSelector": field_selector}
        found: list[Body] = []
        while True:
            page = await self._request("GET", Ref(kind, namespace, ""), query={k: v for k, v in query.items() if v})
            # The items of a list don't repeat what they are.
            found += [{"apiVersion": RESOURCES[kind][0], "kind": kind, **item} for item in page["items"]]
            query["continue"] = page["metadata"].get("continue", "")
            if not query["continue"]:
                return found

    async def _request(
        self,
        method: str,
        ref: Ref,
        subresource: str = "",
        *,
        query: Mapping[str, str] | None = None,
        body: object = None,
        content_type: str = JSON,
    ) -> Body:
        path = _path(ref, subresource) + ("?" + urlencode(query) if query else "")
        return await self._exchange(method, path, RESOURCES[ref.kind][1], body, content_type)

    async def _exchange(self, method: str, path: str, resource: str, body: object, content_type: str) -> Body:
        url, shown = self._client.configuration.host + path, path.partition("?")[0]
        started, code = time.monotonic(), 0
        try:
            code, headers, payload = await self._send(method, url, body, content_type)
        except (aiohttp.ClientError, TimeoutError, OSError) as failure:
            raise errors.UnreachableError(f"{method} {shown}: {failure or type(failure).__name__}") from failure
        finally:
            self._observe(method, resource, code, time.monotonic() - started)
        if code >= 400:
            raise _api_error(code, headers, payload, f"{method} {shown}")
        parsed: Body = from_json(payload)
        return parsed

    async def _send(
        self, method: str, url: str, body: object, content_type: str
    ) -> tuple[int, Mapping[str, str], bytes]:
        headers = {"Accept": JSON, "Content-Type": content_type, **self._client.default_headers}
        await self._client.update_params_for_auth(headers, [], ["BearerToken"], url, method, body)
        async with asyncio.timeout(REQUEST_TIMEOUT_S):
            sent = _encoded(body, headers)
            response = await self._client.rest_client.request(method, url, headers=headers, body=sent)
            return response.status, response.headers, await response.read()


def _encoded(body: object, headers: dict[str, str]) -> object:
    """What is applied is read as YAML, which knows nothing of JSON's two escapes for one character beyond the 16-bit
    range (an emoji), nor of a bare DEL: those characters go as they are, and DEL as an escape.

    With the parameter in its type the client library takes the text as it is instead of making JSON of it.
    """
    if headers["Content-Type"] != APPLY:
        return body
    headers["Content-Type"] = f"{APPLY}; charset=utf-8"
    text = SURROGATES.sub(lambda pair: str(json.loads(f'"{pair[0]}"')), json.dumps(body))
    return text.replace("\x7f", "\\u007f")


def _proxy_of(server: str) -> str | None:
    """What HTTPS_PROXY and its like say, unless NO_PROXY names the server."""
    address = urlsplit(server)
    return None if proxy_bypass(address.netloc) else getproxies().get(address.scheme)


def _as_read(live: Body) -> Body:
    """The metadata that makes a write lose with a conflict where the object is another or a newer one by then: what a
    former leader sent late, or what was decided on an index that lags."""
    return {name: live["metadata"][name] for name in ("uid", "resourceVersion")}


def _path(ref: Ref, subresource: str = "") -> str:
    api_version, plural = RESOURCES[ref.kind]
    root = f"/api/{api_version}" if api_version == "v1" else f"/apis/{api_version}"
    namespace = f"/namespaces/{ref.namespace}" if ref.namespace else ""
    name = f"/{ref.name}" if ref.name else ""
    return f"{root}{namespace}/{plural}{name}{subresource}"


def _api_error(code: int, headers: Mapping[str, str], payload: bytes, what: str) -> errors.ApiError:
    try:
        said = str(json.loads(payload)["message"])
    except (ValueError, KeyError, TypeError):
        said = payload[:200].decode(errors="replace")
    message = f"{what}: {said}"
    if code == 429:
        return errors.ThrottledError(message, code, _seconds(headers.get("Retry-After")))
    kinds: dict[int, type[errors.ApiError]] = {
        400: errors.RejectedError,
        401: errors.ForbiddenError,
        403: errors.ForbiddenError,
        404: errors.NotFoundError,
        409: errors.ConflictError,
        422: errors.RejectedError,
    }
    if code == 500 and WEBHOOK_FAILED in said:
        return errors.WebhookError(message, code)
    return kinds.get(code, errors.UnreachableError if code >= 500 else errors.ApiError)(message, code)


def _seconds(retry_after: str | None) -> float:
    return float(retry_after) if retry_after and retry_after.isdigit() else 1.0
