"""The least that the children of so many models can cost: eight threads that only create them, and write one status.

Nothing is read, watched, compared or decided: what is left is the API server, etcd and the controllers. Server-side
apply, Events, and the statuses after the first are the operator's own affair and not in it; the children may be applied
instead, to see how much of the difference that is.
"""

import json
import time
from typing import Any, NamedTuple

from bench.process_tree import StolenShare
from local_control_plane.client import APPLY, JSON, MERGE, Client
from neuron_operator.names import FIELD_MANAGER
from operator_bench.many import for_each
from operator_bench.models import COLLECTIONS, MODELS, model, names
from operator_bench.rendering import NAME, OWNER, placeholders

Body = dict[str, Any]


class Floor(NamedTuple):
    """From the first request to the answer to the last child's creation, and what the hypervisor took meanwhile."""

    seconds: float
    stolen_share: float


class Request(NamedTuple):
    """What creates one child of the model called NAME."""

    method: str
    path: str
    body: str
    content_type: str


def create_everything(client: Client, count: int, *, by_apply: bool = False) -> Floor:
    requests = [_apply(body) if by_apply else _post(body) for body in placeholders()]
    began, stolen_share = time.monotonic(), StolenShare()
    seconds = max(for_each(names(count), lambda name: _create(client, name, requests))) - began
    return Floor(seconds, stolen_share.until_now())


def status(name: str, now: str) -> Body:
    """As long as the operator's first word on a model."""
    common = {"observedGeneration": 1, "lastTransitionTime": now, "reason": "Progressing"}
    message = "0 of 1 replicas serve. Look at the model again in a while; its pods are being started."
    conditions = [
        {**common, "type": kind, "status": is_true, "message": message}
        for kind, is_true in (("Ready", "False"), ("Reconciling", "True"), ("Stalled", "False"))
    ]
    return {
        "observedGeneration": 1,
        "conditions": conditions,
        "replicas": 0,
        "selector": f"neuron-serving.dev/model={name}",
        "url": f"http://{name}.bench.svc",
        "placement": {"instanceTypes": ["inf2.xlarge"], "reason": "1 core on one device; preferred by price per core"},
        "runtime": {"image": "docker.io/neuron-serving/runtime:0.0.0"},
    }


def _post(body: Body) -> Request:
    return Request("POST", COLLECTIONS[body["kind"]], json.dumps(body), JSON)


def _apply(body: Body) -> Request:
    path = f"{COLLECTIONS[body['kind']]}/{body['metadata']['name']}?fieldManager={FIELD_MANAGER}&force=true"
    return Request("PATCH", path, json.dumps(body), APPLY)


def _create(client: Client, name: str, requests: list[Request]) -> float:
    uid = client.request("POST", MODELS, model(name))["metadata"]["uid"]
    for method, path, body, content_type in requests:
        own = body.replace(NAME, name).replace(OWNER, uid)
        client.request(method, path.replace(NAME, name), own.encode(), content_type)
    created = time.monotonic()
    client.request("PATCH", f"{MODELS}/{name}/status", {"status": status(name, "2000-01-01T00:00:00Z")}, MERGE)
    return created
