"""What each reason means and what to do about it, in a sentence each. Pure.

docs/reference/conditions.md is generated from here; a test holds that no reason is without its meaning.
"""

from typing import NamedTuple

from neuron_operator.api.conditions import Reason


class Meaning(NamedTuple):
    """`group` orders the reference page."""

    group: str
    what: str
    next_step: str


GOOD, WAITING, ARTIFACT, POD, ROLLOUT, FINAL = (
    "In order",
    "Waiting for a place to run",
    "The artifact",
    "The pods",
    "Rollouts and ownership",
    "The object itself",
)

MEANINGS: dict[Reason, Meaning] = {
    Reason.SERVING: Meaning(GOOD, "Every wanted replica serves the current spec.", "Nothing."),
    Reason.SUSPENDED: Meaning(GOOD, "spec.suspend is true: no replica runs.", "Set spec.suspend to false to serve."),
    Reason.SCALED_TO_ZERO: Meaning(GOOD, "spec.replicas is 0: no replica runs.", "Scale to 1 or more to serve."),
    Reason.PROGRESSING: Meaning(GOOD, "Pods are starting or being replaced.", "Wait; the message says for what."),
    Reason.INSUFFICIENT_NEURON_CORES: Meaning(
        WAITING,
        "Nodes of the right type exist, but too few NeuronCores are free on any of them, or a device plugin gives "
        "fewer than it advertises.",
        "Add nodes, free cores, or ask for fewer; look at the device plugin if the message names it.",
    ),
    Reason.NO_NEURON_NODES: Meaning(
        WAITING, "The cluster has no node of the instance types that fit.", "Add a node group or a Karpenter NodePool."
    ),
    Reason.DEVICE_PLUGIN_MISSING: Meaning(
        WAITING,
        "Nodes of the right type exist, but none advertises aws.amazon.com/neuroncore.",
        "Install or repair the Neuron device plugin.",
    ),
    Reason.STALE_USAGE_MAP: Meaning(
        WAITING,
        "Enough NeuronCores are free, but the scheduler extension counts more of them in use than any pod asks for.",
        "Remove its maps from the node, as the message shows; it makes them anew.",
    ),
    Reason.SCHEDULER_EXTENSION_REQUIRED: Meaning(
        FINAL,
        "More than one but fewer than all cores of an instance were asked for, and no scheduler with AWS's Neuron "
        "extension is named.",
        "Install the extension and set spec.placement.schedulerName, or ask for one core or all.",
    ),
    Reason.TAINT_NOT_TOLERATED: Meaning(
        WAITING, "The nodes that fit have a taint the pods do not tolerate.", "Add it to spec.placement.tolerations."
    ),
    Reason.UNSCHEDULABLE: Meaning(
        WAITING,
        "The scheduler finds no node, or the node refuses the pod, for another reason.",
        "Read the message: it is the scheduler's or the node's; compare with kubectl describe nodes.",
    ),
    Reason.NO_MATCHING_INSTANCE_TYPE: Meaning(
        FINAL,
        "No instance type named can run the model as written.",
        "Follow the suggestion in the message; what served before serves on.",
    ),
    Reason.IMAGE_PULL_FAILED: Meaning(
        POD,
        "An image can't be pulled.",
        "Check its name, that the nodes reach the registry, and spec.pod.imagePullSecrets.",
    ),
    Reason.CONTAINER_CONFIG_ERROR: Meaning(
        POD, "A container can't be set up, mostly for a missing Secret or ConfigMap.", "Create what the message names."
    ),
    Reason.ARTIFACT_NOT_FOUND: Meaning(ARTIFACT, "Nothing is at spec.artifact.uri.", "Correct the URI or upload it."),
    Reason.ARTIFACT_UNAUTHORIZED: Meaning(
        ARTIFACT,
        "The store refuses the credentials.",
        "Check spec.artifact.secretRef, or the role of spec.pod.serviceAccountName.",
    ),
    Reason.ARTIFACT_UNREACHABLE: Meaning(
        ARTIFACT, "The store does not answer.", "Check the host, DNS and network policies; it is tried again."
    ),
    Reason.ARTIFACT_CORRUPT: Meaning(
        ARTIFACT, "A file differs from its checksum, or is no bundle.", "Upload it again, or correct the digest."
    ),
    Reason.ARTIFACT_TOO_LARGE: Meaning(
        ARTIFACT, "The bundle is larger than allowed.", "Shrink it, or raise NEURON_RUNTIME_MAX_BYTES in spec.pod.env."
    ),
    Reason.DISK_FULL: Meaning(ARTIFACT, "The node has no room for the bundle.", "Use nodes with larger disks."),
    Reason.MODEL_LOAD_FAILED: Meaning(
        POD, "The runtime can't load the model.", "Read the message; trace it again for this target if it says so."
    ),
    Reason.NEURON_CORES_BUSY: Meaning(
        POD, "Another process still holds the cores.", "Wait; if it lasts, look for the process on the node."
    ),
    Reason.COMPILER_VERSION_MISMATCH: Meaning(
        POD, "The model was compiled for another runtime version.", "Compile it again, or use a matching image."
    ),
    Reason.OUT_OF_MEMORY: Meaning(
        POD,
        "The container ran out of the host's memory.",
        "Raise spec.resources.limits.memory.",
    ),
    Reason.OUT_OF_DEVICE_MEMORY: Meaning(
        POD,
        "The model's programs do not fit a NeuronCore's device memory.",
        "Use fewer buckets (spec.serving.maxBatchSize), or compile for smaller batches or with bf16 casting.",
    ),
    Reason.HARDWARE_ERROR: Meaning(POD, "The device reports a hardware error.", "Drain and replace the node."),
    Reason.INVALID_CONFIGURATION: Meaning(
        POD, "The runtime refuses its settings.", "Correct what the message names, under spec.serving or spec.pod.env."
    ),
    Reason.CRASH_LOOP: Meaning(
        POD,
        "A container keeps ending and names no reason itself.",
        "Read what it said last: kubectl logs --previous, with the pod and the container that the message names.",
    ),
    Reason.PROBE_FAILING: Meaning(
        POD,
        "A container runs but its readiness probe fails, or it was killed before it was ever ready.",
        "Read its logs, with --previous if it was killed; kubectl describe pod shows the probes.",
    ),
    Reason.EVICTED: Meaning(
        POD,
        "A node ended a pod: it ran out of disk or memory, or shut down.",
        "Wait for the pod that replaces it; if it happens again, use larger nodes or raise spec.resources.",
    ),
    Reason.ROLLOUT_STALLED: Meaning(
        ROLLOUT,
        "The new version made no progress within spec.rollout.progressDeadlineSeconds; the old one serves on.",
        "Correct what the message names, or go back to the former spec.",
    ),
    Reason.ROLLED_BACK: Meaning(
        ROLLOUT,
        "The new version made no progress within spec.rollout.progressDeadlineSeconds and was given up, as "
        "spec.rollout.autoRollback asks; the last version that was complete serves.",
        "Correct what the message names; the next change of the spec is rolled out.",
    ),
    Reason.ROLLOUT_WOULD_LOSE_CORES: Meaning(
        ROLLOUT,
        "Replacing a pod in place would free cores that another waiting pod can take first; the rollout is held.",
        "Add capacity, give the model a priorityClassName, or accept it with spec.rollout.acceptCoreLoss.",
    ),
    Reason.QUOTA_EXCEEDED: Meaning(ROLLOUT, "A ResourceQuota forbids the pods.", "Raise the quota or ask for less."),
    Reason.NAME_CONFLICT: Meaning(
        ROLLOUT,
        "An object of this name exists and belongs to someone else.",
        "Create the model under another name, or remove the object.",
    ),
    Reason.CHILD_REJECTED: Meaning(
        FINAL, "The API server refuses a rendered object.", "Correct the field of the spec that the message names."
    ),
    Reason.CHILD_CONFLICT: Meaning(
        ROLLOUT,
        "Somebody took a field that the operator renders back more than 5 times in 10 minutes: that field, no other, "
        "is left to them. A condition of its own; Ready is not touched.",
        "Stop the manager that the message names from writing that field; it is tried again after 10 minutes, or when "
        "the spec changes.",
    ),
    Reason.CONFLICTING_AUTOSCALER: Meaning(
        ROLLOUT,
        "A HorizontalPodAutoscaler (KEDA makes them too) aims at the Deployment, whose replicas the operator owns. "
        "A condition of its own; Ready is not touched.",
        "Aim its scaleTargetRef at the NeuronModel, which has a scale subresource.",
    ),
    Reason.UPGRADE_HELD: Meaning(
        ROLLOUT,
        "What this release of the operator renders can't be adopted yet; the pods that run go on serving. A condition "
        "of its own; Ready is not touched.",
        "Do what the message names; it is tried again by itself.",
    ),
    Reason.INVALID_SPEC: Meaning(
        FINAL,
        "The spec can't be served as written.",
        "Correct the fields the message names; what served before serves on.",
    ),
}
