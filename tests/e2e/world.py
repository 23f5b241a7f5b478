"""One story's corner of the cluster, in the words the stories use."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from demo.kube import CommandError, Kube

MODEL_LABEL = "neuron-serving.dev/model"
# Never waited out by a story that passes, so it need not be short: on a busy machine pods take minutes to start.
WAIT_S = 600


def stored(key: str, *, secret: str = "artifact-store") -> dict[str, Any]:
    """The artifact that the store has under `key`, for a spec."""
    return {"uri": f"s3://models/{key}/", "secretRef": {"name": secret}}


@dataclass(frozen=True)
class World:
    kube: Kube
    namespace: str

    def apply_model(self, name: str, **spec: Any) -> None:
        """Apply a NeuronModel that serves the tiny bundle with one core unless `spec` says otherwise."""
        body = {
            "apiVersion": "neuron-serving.dev/v1alpha1",
            "kind": "NeuronModel",
            "metadata": {"name": name, "namespace": self.namespace},
            "spec": {
                "artifact": stored("tiny"),
                "neuronCores": 1,
                "rollout": {"drainSeconds": 1},
                **spec,
            },
        }
        self.kube.apply(body)

    def patch(self, name: str, spec: dict[str, Any]) -> None:
        """Merge `spec` into the model's own."""
        patch = json.dumps({"spec": spec})
        self.kube.kubectl("patch", f"neuronmodel/{name}", "-n", self.namespace, "--type=merge", "-p", patch)

    def model(self, name: str) -> dict[str, Any]:
        return self.kube.get("neuronmodel", name, self.namespace)

    def condition(self, name: str, kind: str = "Ready") -> dict[str, str]:
        conditions: list[dict[str, str]] = self.model(name).get("status", {}).get("conditions", [])
        return next((condition for condition in conditions if condition["type"] == kind), {})

    def wait_until_ready(self, name: str) -> None:
        self.wait(f"neuronmodel/{name}", "condition=Ready")

    def wait_until_settled(self, name: str) -> None:
        """Ready, and the pods that had to go are gone, whose last moments matter to whoever still asks them."""
        self.wait_until_ready(name)
        for pod in (pod["metadata"] for pod in self.pods(name)):
            if "deletionTimestamp" in pod:
                self.wait(f"pod/{pod['name']}", "delete")

    def wait_for_reason(self, name: str, reason: str) -> str:
        """Wait until Ready carries `reason`; returns its message."""
        path = '{.status.conditions[?(@.type=="Ready")].reason}'
        self.wait(f"neuronmodel/{name}", f"jsonpath={path}={reason}")
        return self.condition(name)["message"]

    def wait(self, what: str, condition: str) -> None:
        try:
            self.kube.wait(what, condition, namespace=self.namespace, timeout_s=WAIT_S)
        except CommandError as error:
            pods = self.kube.kubectl("get", "pods", "-n", self.namespace, "-o", "wide")
            raise CommandError(f"{error}\n{pods}") from error

    def pods(self, name: str) -> list[dict[str, Any]]:
        return self.kube.list("pods", namespace=self.namespace, labels=f"{MODEL_LABEL}={name}")

    def pod_names(self, name: str) -> set[str]:
        return {pod["metadata"]["name"] for pod in self.pods(name)}

    def address(self, name: str) -> str:
        """The cluster IP of the model's Service."""
        address: str = self.kube.get("service", name, self.namespace)["spec"]["clusterIP"]
        return address

    def delete(self, what: str, *options: str) -> None:
        self.kube.kubectl("delete", what, "-n", self.namespace, f"--timeout={WAIT_S}s", *options)

    def is_there(self, what: str) -> bool:
        return bool(self.kube.kubectl("get", what, "-n", self.namespace, "--ignore-not-found", "-o", "name").strip())

    @contextmanager
    def forward(self, name: str) -> Iterator[str]:
        with self.kube.forward(f"svc/{name}", 80, self.namespace) as url:
            yield url
