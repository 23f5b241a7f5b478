"""A small client of the cluster's API server, for the few calls that raising and watching the cluster takes.

Plain HTTPS from the standard library with the admin's certificate. Everything beyond the tool itself uses
kubectl or a real client library.
"""

import http.client
import json
import ssl
from typing import Any

from cluster.addons import path_of
from cluster.control_plane import API_PORT
from cluster.errors import ClusterError
from cluster.settings import GATEWAY, Settings

_TIMEOUT_S = 5.0


class Api:
    def __init__(self, settings: Settings) -> None:
        folder = settings.certificates
        self._context = ssl.create_default_context(cafile=str(folder / "ca.crt"))
        self._context.load_cert_chain(str(folder / "admin.crt"), str(folder / "admin.key"))

    def request(
        self, method: str, path: str, body: object = None, content_type: str = "application/json"
    ) -> tuple[int, Any]:
        """Status and parsed body; status 0 when nobody answers, which is ordinary while the server starts."""
        connection = http.client.HTTPSConnection(GATEWAY, API_PORT, timeout=_TIMEOUT_S, context=self._context)
        try:
            payload = None if body is None else json.dumps(body)
            connection.request(method, path, payload, {"Content-Type": content_type, "Accept": "application/json"})
            response = connection.getresponse()
            text = response.read().decode()
        except OSError:
            return 0, None
        finally:
            connection.close()
        is_json = (response.getheader("Content-Type") or "").startswith("application/json")
        return response.status, json.loads(text) if is_json else text

    def is_ready(self) -> bool:
        return self.request("GET", "/readyz")[0] == 200

    def get(self, path: str) -> Any:
        status, body = self.request("GET", path)
        return body if status == 200 else None

    def apply(self, item: dict[str, Any]) -> None:
        """Server-side apply, so that a second `up` changes nothing."""
        path = f"{path_of(item)}?fieldManager=neuron-serving-cluster&force=true"
        status, body = self.request("PATCH", path, item, "application/apply-patch+yaml")
        if status not in (200, 201):
            raise ClusterError(
                f"the API server refused {item['kind']} {item['metadata']['name']}: {status} {body}",
                "see `python -m cluster logs kube-apiserver`",
            )

    def nodes(self) -> dict[str, dict[str, Any]]:
        listed = self.get("/api/v1/nodes") or {"items": []}
        return {item["metadata"]["name"]: item for item in listed["items"]}


def is_node_ready(node: dict[str, Any]) -> bool:
    conditions = node.get("status", {}).get("conditions", [])
    return any(one["type"] == "Ready" and one["status"] == "True" for one in conditions)


def allocatable_cores(node: dict[str, Any]) -> int:
    return int(node.get("status", {}).get("allocatable", {}).get("aws.amazon.com/neuroncore", 0))
