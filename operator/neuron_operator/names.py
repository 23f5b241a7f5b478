"""Every string the operator puts on the cluster: group, labels, annotations, ports, paths and child names.

Everything that renders or reads objects takes its constants from here, so that a name exists once. Pure.
"""

from typing import Final

GROUP: Final = "neuron-serving.dev"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
KIND: Final = "NeuronModel"
PLURAL: Final = "neuronmodels"
SINGULAR: Final = "neuronmodel"
SHORT_NAME: Final = "nm"
CATEGORY: Final = "inference"
CRD_NAME: Final = f"{PLURAL}.{GROUP}"

FIELD_MANAGER: Final = "neuron-serving"

LABEL_MODEL: Final = f"{GROUP}/model"
LABEL_ELECTOR: Final = f"{GROUP}/elector"
# On pods: those that one pod template makes are spread among themselves.
LABEL_TEMPLATE: Final = f"{GROUP}/template"
LABEL_NAME: Final = "app.kubernetes.io/name"
LABEL_INSTANCE: Final = "app.kubernetes.io/instance"
LABEL_MANAGED_BY: Final = "app.kubernetes.io/managed-by"
APP_NAME: Final = "neuron-runtime"
MANAGED_BY: Final = "neuron-serving"
ELECTOR: Final = "operator"
LEASE_NAME: Final = "neuron-serving-operator"
ANNOTATION_DESIRED_HASH: Final = f"{GROUP}/desired-hash"
ANNOTATION_ROLLOUT: Final = f"{GROUP}/rollout"
# On a pod template that an upgrade rendered: the name of the revision that was rendered first for the same intent.
ANNOTATION_INTENT: Final = f"{GROUP}/intent"
# On a Deployment: the upgrade that it is on its way through; the newest revision of which every replica was available;
# the one that was rolled back from, and why.
ANNOTATION_UPGRADE: Final = f"{GROUP}/upgrade"
ANNOTATION_COMPLETE: Final = f"{GROUP}/complete-revision"
ANNOTATION_GIVEN_UP: Final = f"{GROUP}/given-up-revision"
ANNOTATION_GIVEN_UP_BECAUSE: Final = f"{GROUP}/given-up-because"

RESOURCE_NEURONCORE: Final = "aws.amazon.com/neuroncore"
RESOURCE_NEURON: Final = "aws.amazon.com/neuron"
# On a node, by AWS's scheduler extension.
ANNOTATION_CORE_USAGE: Final = "NEURON_CORE_USAGE_MAP"
ANNOTATION_DEVICE_USAGE: Final = "NEURON_DEV_USAGE_MAP"
TAINT_NEURON: Final = "aws.amazon.com/neuron"
LABEL_INSTANCE_TYPE: Final = "node.kubernetes.io/instance-type"
LABEL_ARCH: Final = "kubernetes.io/arch"
LABEL_OS: Final = "kubernetes.io/os"
LABEL_HOSTNAME: Final = "kubernetes.io/hostname"
LABEL_ZONE: Final = "topology.kubernetes.io/zone"
LABEL_AUTOMANAGED: Final = "kube-aggregator.kubernetes.io/automanaged"

CONTAINER_RUNTIME: Final = "runtime"
CONTAINER_FETCH: Final = "fetch"
PORT_NAME: Final = "http"
RUNTIME_PORT: Final = 8080
SERVICE_PORT: Final = 80

VOLUME_MODEL: Final = "model"
VOLUME_TMP: Final = "tmp"
VOLUME_CLAIM: Final = "artifact-claim"
MODEL_PATH: Final = "/model"
TMP_PATH: Final = f"/{VOLUME_TMP}"
CLAIM_PATH: Final = "/mnt/pvc"
TERMINATION_MESSAGE_PATH: Final = "/dev/termination-log"
RUN_AS_ID: Final = 65532

REVISION_HASH_LENGTH: Final = 10
LABEL_VALUE_MAX_LENGTH: Final = 63
# The longest child is a ControllerRevision: "<name>-<hash>", which must still be a label value (63 characters).
NAME_MAX_LENGTH: Final = LABEL_VALUE_MAX_LENGTH - REVISION_HASH_LENGTH - 1


def selector(model_name: str) -> dict[str, str]:
    """What the Deployment, the Service and the disruption budget select pods by; immutable on the Deployment."""
    return {LABEL_MODEL: model_name}


def child_labels(model_name: str) -> dict[str, str]:
    """The labels of every child and pod; never the owner's own labels, which belong to the user's tools."""
    return {
        LABEL_NAME: APP_NAME,
        LABEL_INSTANCE: model_name,
        LABEL_MANAGED_BY: MANAGED_BY,
        LABEL_MODEL: model_name,
    }


def revision_name(model_name: str, intent_hash: str) -> str:
    """The ControllerRevision that freezes one pod template."""
    return f"{model_name}-{intent_hash[:REVISION_HASH_LENGTH]}"


def url(model_name: str, namespace: str) -> str:
    """Where the model answers inside the cluster."""
    return f"http://{model_name}.{namespace}.svc"
