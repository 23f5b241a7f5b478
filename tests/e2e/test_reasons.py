"""Every reason is provoked on real kubelets and told of on the object; the cases of a test run side by side."""

import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest

from cluster.settings import NODES
from demo import installation
from e2e.observing import Body, Observer, observed
from e2e.summary import Summary
from e2e.world import MODEL_LABEL, WAIT_S, World, stored

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

CORES_PER_NODE = 2
TABLE = "seconds from the event to the reason on the object"
EXITS = {"name": "app", "image": installation.RUNTIME_IMAGE, "command": ["python3", "-c", "raise SystemExit(3)"]}


@dataclass(frozen=True)
class Case:
    """One mistake: the reason that names it, the spec that makes it, what the message says, where it shows first,
    and whether time alone can't mend it."""

    reason: str
    spec: dict[str, Any]
    words: str
    shows_in: str = "Pod"
    is_final: bool = False

    @property
    def name(self) -> str:
        return self.reason.lower()


def placed_on(instance_type: str) -> dict[str, Any]:
    return {"placement": {"instanceTypes": [instance_type]}}


# The pod of each of these holds a core while it fails: together they take all that there are.
FAILS_EARLY = (
    Case("ArtifactNotFound", {"artifact": stored("nowhere")}, "s3://models/nowhere/"),
    Case("ArtifactUnauthorized", {"artifact": stored("tiny", secret="wrong-key")}, "s3://models/tiny/"),
    Case("ArtifactCorrupt", {"artifact": {**stored("tiny"), "digest": f"sha256:{'0' * 64}"}}, "0000"),
    Case("ImagePullFailed", {"runtime": {"image": "registry.invalid/runtime:none"}}, "registry.invalid/runtime:none"),
)
NO_CORE_LEFT = Case("InsufficientNeuronCores", {}, "1 pod without a node")
FAILS_LATE = (
    Case("OutOfMemory", {"resources": {"limits": {"memory": "64Mi"}}}, "memory"),
    Case("ModelLoadFailed", {"artifact": stored("unloadable")}, "container runtime"),
    Case("CrashLoop", {"pod": {"containers": [EXITS]}}, "exit code 3"),
)
TAINTED = Case("TaintNotTolerated", {}, "not tolerated: ")
NO_PLUGIN = Case("DevicePluginMissing", {}, "device plugin")
# These never have a node or even a pod.
NOT_PLACED = (
    Case("NoNeuronNodes", placed_on("inf2.48xlarge"), "inf2.48xlarge"),
    Case("NoMatchingInstanceType", placed_on("inf2.6xlarge"), "inf2.8xlarge", "NeuronModel", is_final=True),
    Case("SchedulerExtensionRequired", {"neuronCores": 3}, "3 NeuronCores", "NeuronModel", is_final=True),
)
TAKEN_NAME = Case("NameConflict", {}, "A Service nameconflict exists", "NeuronModel", is_final=True)
OVER_QUOTA = Case("QuotaExceeded", {}, "exceeded quota", "Deployment")


def is_shown(body: Body, case: Case) -> bool:
    """Whether this state of the object is the event: its pod fails or has no node, is refused, or the spec is there."""
    metadata, status = body["metadata"], body.get("status", {})
    if metadata.get("labels", {}).get(MODEL_LABEL, metadata["name"]) != case.name:
        return False
    if body["kind"] == "NeuronModel":
        return True
    conditions = {(one["type"], one["status"]) for one in status.get("conditions", ())}
    if ("PodScheduled", "False") in conditions or ("ReplicaFailure", "True") in conditions:
        return True
    containers = [*status.get("initContainerStatuses", ()), *status.get("containerStatuses", ())]
    return any(has_failed(container) for container in containers)


def has_failed(container: Body) -> bool:
    ended = container["state"].get("terminated") or container.get("lastState", {}).get("terminated")
    waits_for = container["state"].get("waiting", {}).get("reason", "")
    return bool(ended and ended["exitCode"]) or waits_for in ("ErrImagePull", "ImagePullBackOff")


def is_told(body: Body, case: Case) -> bool:
    conditions = body.get("status", {}).get("conditions", ())
    return bool(body["metadata"]["name"] == case.name and any(one["reason"] == case.reason for one in conditions))


@dataclass
class Reactions:
    """How long it took from each event to the object that tells of it."""

    summary: Summary
    seconds: list[float] = field(default_factory=list)

    def note(self, observer: Observer, case: Case) -> None:
        happened = observer.first(case.shows_in, lambda body: is_shown(body, case))
        told = observer.first("NeuronModel", lambda body: is_told(body, case))
        assert happened is not None, f"no {case.shows_in} showed what {case.reason} is about"
        assert told is not None, f"no NeuronModel told of {case.reason}"
        # Three watches: what the operator sees first may reach us last.
        self.seconds.append(max(0.0, told - happened))
        self.summary.add(TABLE, case.reason, f"{self.seconds[-1]:.2f}")


@pytest.fixture(scope="module")
def reactions(summary: Summary) -> Iterator[Reactions]:
    found = Reactions(summary)
    yield found
    if found.seconds:
        summary.add(TABLE, "median", f"{statistics.median(found.seconds):.2f}")


@pytest.fixture
def wrong_key(world: World) -> None:
    """A Secret that leads to the store, whose key the store does not know."""
    secret = world.kube.get("secret", "artifact-store", world.namespace)
    metadata = {"name": "wrong-key", "namespace": world.namespace}
    world.kube.apply({**secret, "metadata": metadata, "stringData": {"AWS_SECRET_ACCESS_KEY": "wrong"}})


@pytest.fixture
def without_device_plugins(world: World) -> Iterator[None]:
    for node in NODES:
        installation.tool("cluster", "stop", f"{node.name}-device-plugin")
    await_cores(world, 0)
    yield
    start_device_plugins(world)


def start_device_plugins(world: World) -> None:
    for node in NODES:
        installation.tool("cluster", "start", f"{node.name}-device-plugin")
    await_cores(world, CORES_PER_NODE)


def await_cores(world: World, count: int) -> None:
    path = r"{.status.allocatable.aws\.amazon\.com/neuroncore}"
    for node in NODES:
        world.kube.wait(f"node/{node.name}", f"jsonpath={path}={count}", timeout_s=WAIT_S)


@pytest.fixture
def others_service(world: World) -> str:
    """A Service with the model's name that is somebody else's."""
    world.kube.kubectl("create", "service", "clusterip", TAKEN_NAME.name, "--tcp=80", "-n", world.namespace)
    return f"service/{TAKEN_NAME.name}"


def provoke(world: World, cases: Iterable[Case]) -> None:
    for case in cases:
        world.apply_model(case.name, **case.spec)


def await_reasons(world: World, observer: Observer, reactions: Reactions, cases: Iterable[Case]) -> None:
    for case in cases:
        assert case.words in world.wait_for_reason(case.name, case.reason)
        assert world.condition(case.name, "Stalled")["status"] == str(case.is_final)
        reactions.note(observer, case)


@pytest.mark.usefixtures("wrong_key")
def test_what_keeps_a_pod_from_starting_is_told_and_clears(world: World, reactions: Reactions) -> None:
    with observed(world.kube, world.namespace) as observer:
        provoke(world, FAILS_EARLY)
        await_reasons(world, observer, reactions, FAILS_EARLY)
        provoke(world, [NO_CORE_LEFT])
        await_reasons(world, observer, reactions, [NO_CORE_LEFT])
    # Mended: what was asked for wrongly is asked for rightly; the last one gets the core of one that is gone.
    missing, refused, corrupt, unpullable = (case.name for case in FAILS_EARLY)
    world.delete(f"neuronmodel/{unpullable}")
    for name in (missing, refused, corrupt):
        world.apply_model(name)
    for name in (missing, refused, corrupt, NO_CORE_LEFT.name):
        world.wait_until_ready(name)


def test_what_ends_a_container_is_told(world: World, reactions: Reactions) -> None:
    with observed(world.kube, world.namespace) as observer:
        provoke(world, FAILS_LATE)
        await_reasons(world, observer, reactions, FAILS_LATE)


def test_what_has_no_place_is_told_and_clears(world: World, reactions: Reactions, others_service: str) -> None:
    cases = (*NOT_PLACED, TAKEN_NAME)
    with observed(world.kube, world.namespace) as observer:
        provoke(world, cases)
        await_reasons(world, observer, reactions, cases)
    world.delete(others_service)
    for case in NOT_PLACED:
        world.apply_model(case.name)
    for case in cases:
        world.wait_until_ready(case.name)


def test_a_taint_is_told_and_clears(world: World, reactions: Reactions) -> None:
    nodes = [node.name for node in NODES]
    world.kube.kubectl("taint", "nodes", *nodes, "example.com/reserved=yes:NoSchedule")
    try:
        with observed(world.kube, world.namespace) as observer:
            provoke(world, [TAINTED])
            await_reasons(world, observer, reactions, [TAINTED])
    finally:
        world.kube.kubectl("taint", "nodes", *nodes, "example.com/reserved-")
    world.wait_until_ready(TAINTED.name)


def test_a_quota_is_told_and_clears(world: World, reactions: Reactions) -> None:
    world.kube.kubectl("create", "quota", "nothing", "--hard=pods=0", "-n", world.namespace)
    # Pods are refused from the moment the quota's own status says so.
    world.wait("resourcequota/nothing", "jsonpath={.status.hard.pods}=0")
    with observed(world.kube, world.namespace) as observer:
        provoke(world, [OVER_QUOTA])
        await_reasons(world, observer, reactions, [OVER_QUOTA])
    world.delete("resourcequota/nothing")
    world.wait_until_ready(OVER_QUOTA.name)


@pytest.mark.usefixtures("without_device_plugins")
def test_a_missing_device_plugin_is_told_and_clears(world: World, reactions: Reactions) -> None:
    with observed(world.kube, world.namespace) as observer:
        provoke(world, [NO_PLUGIN])
        await_reasons(world, observer, reactions, [NO_PLUGIN])
    start_device_plugins(world)
    world.wait_until_ready(NO_PLUGIN.name)
