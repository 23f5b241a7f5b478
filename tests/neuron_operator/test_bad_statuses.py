"""Whatever is written into the status of a model's pods and Deployment, its own fits its schema and comes to rest."""

import asyncio
import json
from typing import Any

from hypothesis import example, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator

from crd_limits import Node
from model_builders import model_body
from neuron_operator.api.conditions import ConditionType, Reason
from neuron_operator.api.schema import custom_resource_definition
from neuron_operator.cluster import Ref
from neuron_operator.reasons import CONFIG_REASONS, ENDED_BY_NODE, IMAGE_REASONS, LONGEST_MESSAGE, RUNTIME_REASONS
from reconciling import KEY, World

SLOWER = hypothesis_settings(max_examples=40)
STATUS = custom_resource_definition()["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["status"]
STATUS_VALIDATOR = Draft202012Validator(STATUS)

HUGE = "x" * 200_000
# What the API server keeps of bytes that are no text, words without a space, words in any script.
Texts = st.text(max_size=40) | st.sampled_from(
    ["", HUGE, "\ufffd" * 4096, "漢字 🙂" * 2000, "漢" * 400, "\x00\x1b[31m", "a\n\n\tb " * 999]
)
Words = st.sampled_from(sorted(IMAGE_REASONS | CONFIG_REASONS | ENDED_BY_NODE | {"CrashLoopBackOff", "OOMKilled"}))
Moments = st.sampled_from(["2025-12-31T23:59:50Z", "2026-01-01T00:00:00Z", "2026-01-01T00:05:00.123456Z"])
# What JSON can hold, and UTF-8 can't.
Halves = st.just("half \ud83d a character \ude42")
Told = st.builds(
    lambda **said: json.dumps(said),
    reason=st.sampled_from([str(reason) for reason in RUNTIME_REASONS]) | Texts,
    message=Texts | Halves | st.integers(),
    hint=Texts | Halves | st.none(),
    details=st.dictionaries(st.text(max_size=5), Texts, max_size=2),
)
Counts = st.integers(0, 2**31 - 1)


def some_of(**fields: st.SearchStrategy[Any]) -> st.SearchStrategy[Node]:
    """Any of it may be missing."""
    return st.fixed_dictionaries({}, optional=fields)


Ended = some_of(
    exitCode=st.integers(-(2**31), 2**31 - 1),
    reason=Words | Texts,
    message=Told | Texts,
    startedAt=Moments,
    finishedAt=Moments,
)
States = (
    some_of(waiting=some_of(reason=Words | Texts, message=Texts))
    | some_of(running=some_of(startedAt=Moments))
    | some_of(terminated=Ended)
)
Containers = st.lists(
    some_of(
        name=st.sampled_from(["runtime", "fetch", "app"]) | Texts,
        image=Texts,
        ready=st.booleans(),
        started=st.booleans(),
        restartCount=Counts,
        state=States,
        lastState=States,
    ),
    max_size=3,
)


def conditions(*kinds: str) -> st.SearchStrategy[list[Node]]:
    made = some_of(
        status=st.sampled_from(["True", "False", "Unknown"]),
        reason=st.sampled_from(["Unschedulable", "ProgressDeadlineExceeded"]) | Texts,
        message=Texts | st.just('pods "x" is forbidden: exceeded quota: q'),
        lastTransitionTime=Moments,
    )
    return st.lists(
        st.tuples(st.sampled_from(kinds), made).map(lambda drawn: {"type": drawn[0], **drawn[1]}), max_size=3
    )


Pods = st.lists(
    some_of(
        phase=st.sampled_from(["Pending", "Running", "Failed", "Succeeded", "Unknown"]),
        reason=Words | Texts,
        message=Texts,
        conditions=conditions("PodScheduled", "Ready", "Initialized"),
        initContainerStatuses=Containers,
        containerStatuses=Containers,
    ),
    max_size=3,
)
Deployments = some_of(
    observedGeneration=st.integers(0, 3),
    replicas=Counts,
    readyReplicas=Counts,
    updatedReplicas=Counts,
    availableReplicas=Counts,
    conditions=conditions("Progressing", "ReplicaFailure", "Available"),
)


def pod(name: str, revision: str, status: Node) -> Node:
    metadata = {
        "name": name,
        "namespace": KEY.namespace,
        "labels": {"neuron-serving.dev/model": KEY.name},
        "annotations": {"neuron-serving.dev/revision": revision},
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    return {"kind": "Pod", "metadata": metadata, "spec": {"nodeName": "n" * 253}, "status": status}


def told_of(pods: list[Node], deployment: Node) -> Node:
    """The model's status once the loop has come to rest."""
    world = World()
    world.write(model_body())
    asyncio.run(world.settle())
    revision = next(ref.name for ref in world.cluster.objects if ref.kind == "ControllerRevision")
    for number, found in enumerate(pods):
        world.write(pod(f"{number}{'p' * 252}", revision, found))
    world.write({**world.cluster.objects[Ref("Deployment", *KEY)], "status": deployment})
    asyncio.run(world.settle())
    assert {what for what, _ in world.calls} <= {"write_status", "post_event", "list_pods_on"}
    status: Node = world.model()["status"]
    return status


WORST = {"name": HUGE, "image": HUGE, "state": {"waiting": {"reason": "ErrImagePull", "message": HUGE}}}
WIDE = {"name": "runtime", "state": {"waiting": {"reason": "CreateContainerError", "message": "漢" * 300}}}
SAID = json.dumps({"reason": "ModelLoadFailed", "message": HUGE, "hint": HUGE})
ENDED = {"name": HUGE, "state": {"terminated": {"exitCode": -1, "reason": HUGE, "message": SAID}}}


@SLOWER
@given(Pods, Deployments)
@example([{"phase": "Pending", "containerStatuses": [WORST]}], {})
@example([{"phase": "Running", "containerStatuses": [ENDED]}], {})
@example([{"phase": "Failed", "reason": HUGE, "message": HUGE}], {"observedGeneration": 9, "replicas": 2})
@example([{"phase": "Pending", "containerStatuses": [WIDE]}], {})
@example([], {"conditions": [{"type": "ReplicaFailure", "status": "True", "message": HUGE}]})
def test_any_status_of_pods_and_deployment_ends_in_a_status_that_fits_the_schema(
    pods: list[Node], deployment: Node
) -> None:
    status = told_of(pods, deployment)
    assert [error.message[-200:] for error in STATUS_VALIDATOR.iter_errors(status)] == []
    kinds = {condition["type"]: condition for condition in status["conditions"]}
    assert set(ConditionType) & {"Ready", "Reconciling", "Stalled"} <= set(kinds)
    assert [kinds[kind]["status"] for kind in ("Ready", "Reconciling", "Stalled")].count("True") == 1
    assert all(condition["reason"] in set(Reason) for condition in kinds.values())
    # In bytes: so the API server counts the note of an Event.
    assert all(0 < len(condition["message"].encode()) <= LONGEST_MESSAGE for condition in kinds.values())
