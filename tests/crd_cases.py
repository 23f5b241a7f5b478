"""Valid and invalid NeuronModels, judged twice: by NeuronModel.parse in the unit tests and by a real API server.

`words` must appear in both verdicts; where the API server and pydantic word a built-in check differently, they are the
field's name.
"""

from dataclasses import dataclass, field
from typing import Any

from model_builders import model_body


@dataclass(frozen=True)
class Case:
    id: str
    spec: dict[str, Any] = field(default_factory=dict)
    words: str = ""
    name: str = "case"

    @property
    def body(self) -> dict[str, Any]:
        body = model_body(self.name, namespace="default", **self.spec)
        body["metadata"] = {"name": self.name, "namespace": "default"}
        body["spec"] = {key: value for key, value in body["spec"].items() if value is not REMOVED}
        return body


REMOVED: Any = object()
LONGEST_NAME = "m" + "o" * 50 + "l"


def beside(**container: Any) -> dict[str, Any]:
    return {"pod": {"containers": [{"name": "app", "image": "example.com/app:1", **container}]}}


def tolerating(**toleration: Any) -> dict[str, Any]:
    return {"placement": {"tolerations": [toleration]}}


EVERYTHING: dict[str, Any] = {
    "artifact": {
        "uri": "pvc://models/sentiment/3",
        "digest": "sha256:" + "0123456789abcdef" * 4,
        "secretRef": {"name": "store"},
    },
    "neuronCores": 12,
    "replicas": 3,
    "suspend": False,
    "placement": {
        "instanceTypes": ["inf2.48xlarge", "inf2.24xlarge"],
        "schedulerName": "neuron-scheduler",
        "nodeSelector": {"topology.kubernetes.io/zone": "us-east-1a"},
        "tolerations": [
            {"key": "team", "operator": "Equal", "value": "search", "effect": "NoSchedule"},
            {"key": "spot", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60},
        ],
        "priorityClassName": "high",
        "spread": "Preferred",
    },
    "serving": {"maxBatchSize": 8, "queueCapacityRows": 512, "requestTimeoutSeconds": 20, "maxBodyBytes": 1048576},
    "rollout": {
        "mode": "Surge",
        "maxUnavailable": 2,
        "acceptCoreLoss": True,
        "drainSeconds": 5,
        "progressDeadlineSeconds": 600,
    },
    "service": {"targetPort": "web"},
    "resources": {"requests": {"cpu": 2, "memory": "4Gi"}, "limits": {"memory": "8Gi"}},
    "runtime": {"image": "example.com/own-runtime@sha256:" + "ab" * 32, "imagePullPolicy": "Always"},
    "pod": {
        "serviceAccountName": "sentiment",
        "env": [
            {"name": "AWS_REGION", "value": "us-east-1"},
            {"name": "NEURON_RUNTIME_LOG_LEVEL", "value": "debug"},
            {"name": "HOST_IP", "valueFrom": {"fieldRef": {"fieldPath": "status.hostIP"}}},
            {"name": "TOKEN", "valueFrom": {"secretKeyRef": {"name": "tokens", "key": "api.token"}}},
        ],
        "envFrom": [
            {"configMapRef": {"name": "proxy"}},
            {"prefix": "S_", "secretRef": {"name": "s", "optional": True}},
        ],
        "labels": {"team": "search", "app.kubernetes.io/part-of": "shop"},
        "annotations": {"example.com/note": "any text: at all"},
        "imagePullSecrets": [{"name": "registry"}],
        "volumes": [
            {"name": "pages", "configMap": {"name": "pages"}},
            {"name": "keys", "secret": {"secretName": "keys", "optional": True}},
            {"name": "scratch", "emptyDir": {"medium": "Memory", "sizeLimit": "64Mi"}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data", "readOnly": True}},
        ],
        "containers": [
            {
                "name": "web",
                "image": "example.com/web:1",
                "imagePullPolicy": "IfNotPresent",
                "command": ["/bin/web"],
                "args": ["--port", "9000"],
                "workingDir": "/srv",
                "env": [{"name": "MODEL", "value": "http://localhost:8080"}],
                "envFrom": [{"configMapRef": {"name": "web"}}],
                "ports": [{"name": "web", "containerPort": 9000}],
                "resources": {"requests": {"cpu": "100m", "memory": "64Mi"}, "limits": {"memory": "128Mi"}},
                "volumeMounts": [
                    {"name": "pages", "mountPath": "/srv/pages", "readOnly": True},
                    {"name": "data", "mountPath": "/data", "subPath": "web"},
                ],
                "readinessProbe": {"httpGet": {"path": "/", "port": 9000}, "periodSeconds": 2},
                "livenessProbe": {"tcpSocket": {"port": 9000}, "failureThreshold": 5},
                "startupProbe": {"exec": {"command": ["/bin/web", "--check"]}, "initialDelaySeconds": 1},
                "securityContext": {"runAsUser": 1000, "runAsGroup": 1000, "readOnlyRootFilesystem": True},
            }
        ],
    },
}

VALID = [
    Case("smallest"),
    Case("everything", EVERYTHING),
    Case("longest-name", name=LONGEST_NAME),
    Case("one-core", {"neuronCores": 1}),
    Case("all-cores", {"neuronCores": 24}),
    Case("odd-cores", {"neuronCores": 7}),
    Case("no-replicas", {"replicas": 0}),
    Case("quantities", {"resources": {"requests": {"cpu": "1.5", "memory": "2048Ki", "ephemeral-storage": "1G"}}}),
    Case("suspended", {"suspend": True}),
    Case("https", {"artifact": {"uri": "https://models.example.com/sentiment/"}}),
    Case("target-port-number", {"service": {"targetPort": 9000}}),
    Case("target-port-of-runtime", {"service": {"targetPort": "http"}}),
    Case("container-as-root", beside(securityContext={"runAsNonRoot": False, "runAsUser": 0})),
    Case("unknown-instance-type-is-for-the-operator", {"placement": {"instanceTypes": ["inf2.6xlarge"]}}),
    Case("unicode-annotation", {"pod": {"annotations": {"example.com/note": "Übergröße 漢字 🙂"}}}),
    Case("tolerate-everything", tolerating(operator="Exists")),
]

INVALID = [
    Case("name-too-long", name=LONGEST_NAME + "x", words="metadata.name must be at most 52 characters"),
    Case("name-starts-with-a-digit", name="3sentiment", words="start with a letter"),
    Case("name-with-a-dot", name="sentiment.v3", words="lower-case letters, digits and -"),
    Case("no-artifact", {"artifact": REMOVED}, "spec.artifact"),
    Case("no-uri", {"artifact": {}}, "spec.artifact.uri"),
    Case("no-cores", {"neuronCores": REMOVED}, "spec.neuronCores"),
    Case("zero-cores", {"neuronCores": 0}, "neuronCores must be 1 to 24"),
    Case("25-cores", {"neuronCores": 25}, "inf2.48xlarge, the largest Inferentia2 instance, has 24"),
    Case("cores-as-text", {"neuronCores": "two"}, "spec.neuronCores"),
    Case("cores-as-digits", {"neuronCores": "2"}, "spec.neuronCores"),
    Case("suspend-as-text", {"suspend": "yes"}, "spec.suspend"),
    Case("negative-replicas", {"replicas": -1}, "spec.replicas"),
    Case("too-many-replicas", {"replicas": 1001}, "spec.replicas"),
    Case("unknown-field", {"neuronCors": 2}, "unknown field"),
    Case("unknown-field-deep", {"rollout": {"drainSecond": 2}}, "unknown field"),
    Case("unknown-scheme", {"artifact": {"uri": "ftp://models/x"}}, "artifact.uri must be s3://BUCKET/PATH"),
    Case("scheme-of-later", {"artifact": {"uri": "hf://org/model"}}, "hf:// and oci:// are not supported yet"),
    Case("uri-without-bucket", {"artifact": {"uri": "s3:///x"}}, "artifact.uri must be s3://BUCKET/PATH"),
    Case("claim-with-parent-path", {"artifact": {"uri": "pvc://c/../x"}}, "PATH must not contain .."),
    Case("claim-in-capitals", {"artifact": {"uri": "pvc://Claim/x"}}, "must name a PersistentVolumeClaim"),
    Case("digest", {"artifact": {"uri": "s3://b/x", "digest": "sha256:12"}}, "64 hexadecimal digits"),
    Case("digest-of-other-kind", {"artifact": {"uri": "s3://b/x", "digest": "md5:12"}}, "must be sha256:"),
    Case(
        "secret-name", {"artifact": {"uri": "s3://b/x", "secretRef": {"name": "A B"}}}, "spec.artifact.secretRef.name"
    ),
    Case("rollout-mode", {"rollout": {"mode": "inplace"}}, "spec.rollout.mode"),
    Case("nothing-unavailable", {"rollout": {"maxUnavailable": 0}}, "spec.rollout.maxUnavailable"),
    Case("drain-too-long", {"rollout": {"drainSeconds": 3601}}, "spec.rollout.drainSeconds"),
    Case("timeout-zero", {"serving": {"requestTimeoutSeconds": 0}}, "spec.serving.requestTimeoutSeconds"),
    Case("instance-type-shape", {"placement": {"instanceTypes": ["Inf2"]}}, "spec.placement.instanceTypes[0]"),
    Case("label-value", {"placement": {"nodeSelector": {"zone": "a b"}}}, "spec.placement.nodeSelector.zone"),
    Case("toleration-value", tolerating(key="a", operator="Exists", value="b"), "Exists has no value"),
    Case("toleration-without-key", tolerating(value="b"), "needs operator: Exists"),
    Case("toleration-seconds", tolerating(key="a", value="b", tolerationSeconds=5), "effect: NoExecute"),
    Case("quantity", {"resources": {"requests": {"cpu": "a lot"}}}, "spec.resources.requests.cpu"),
    Case("quantity-negative", {"resources": {"requests": {"cpu": -1}}}, "spec.resources.requests.cpu"),
    Case("quantity-fraction", {"resources": {"requests": {"cpu": 0.5}}}, "spec.resources.requests.cpu"),
    Case("label-key", {"pod": {"labels": {"a b": "c"}}}, "a key must look like name or example.com/name"),
    Case("annotation-key", {"pod": {"annotations": {"/a": "c"}}}, "a key must look like"),
    Case("selector-key", {"placement": {"nodeSelector": {"z" * 318: "c"}}}, "a key must look like"),
    Case("cores-as-resource", {"resources": {"limits": {"aws.amazon.com/neuroncore": 1}}}, "only cpu, memory and"),
    Case("cores-beside", beside(resources={"limits": {"aws.amazon.com/neuron": "1"}}), "belong to the runtime alone"),
    Case("container-runtime", beside(name="runtime"), "runtime and fetch are the operator's"),
    Case("container-fetch", beside(name="fetch"), "runtime and fetch are the operator's"),
    Case("container-port-taken", beside(ports=[{"containerPort": 8080}]), "port 8080 of the pod is the runtime's"),
    Case("container-without-image", {"pod": {"containers": [{"name": "app"}]}}, "image"),
    Case("privileged", beside(securityContext={"privileged": True}), "unknown field"),
    Case("mount-of-nothing", beside(volumeMounts=[{"name": "no", "mountPath": "/x"}]), "not in spec.pod.volumes"),
    Case("probe-without-handler", beside(readinessProbe={"periodSeconds": 2}), "exactly one of httpGet, tcpSocket"),
    Case("host-path", {"pod": {"volumes": [{"name": "a", "hostPath": {"path": "/"}}]}}, "hostPath"),
    Case("volume-of-nothing", {"pod": {"volumes": [{"name": "a"}]}}, "exactly one of configMap, secret"),
    Case("volume-taken", {"pod": {"volumes": [{"name": "tmp", "emptyDir": {}}]}}, "belong to the operator"),
    Case("visible-cores", {"pod": {"env": [{"name": "NEURON_RT_VISIBLE_CORES", "value": "0"}]}}, "the operator sets"),
    Case("variable-twice", {"pod": {"env": [{"name": "A", "value": "1"}] * 2}}, "spec.pod.env"),
    Case(
        "value-and-source",
        {"pod": {"env": [{"name": "A", "value": "1", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]}},
        "either value or valueFrom",
    ),
    Case("source-of-nothing", {"pod": {"env": [{"name": "A", "valueFrom": {}}]}}, "valueFrom needs exactly one of"),
    Case("env-from-nothing", {"pod": {"envFrom": [{}]}}, "envFrom needs exactly one of"),
    Case("label-of-operator", {"pod": {"labels": {"neuron-serving.dev/model": "other"}}}, "are the operator's"),
    Case("managed-by", {"pod": {"labels": {"app.kubernetes.io/managed-by": "me"}}}, "are the operator's"),
    Case("target-port-unknown", {"service": {"targetPort": "web"}}, "no container of spec.pod.containers has"),
    Case("target-port-too-high", {"service": {"targetPort": 70000}}, "a number from 1 to 65535"),
]
