"""Every reason is provoked on real kubelets and told of on the object; the cases of a test run side by side.

A pod holds its core while it fails, so at most four cases that get a node are there at a time.
"""

import json
import statistics
from collections.abc import Iterator
from typing import Any

import pytest

from cluster.settings import NODES
from demo import installation
from e2e import provoking
from e2e.observing import Body, observed
from e2e.provoking import Case, Reactions, await_reasons, provoke
from e2e.summary import Summary
from e2e.world import WAIT_S, World, stored

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(1800)]

CORES_PER_NODE = 2
# What design and README promise: from the API server's event to the status that tells of it.
TELLS_WITHIN_S = 5.0


def placed_on(instance_type: str) -> dict[str, Any]:
    return {"placement": {"instanceTypes": [instance_type]}}


def beside(program: str, **more: Any) -> dict[str, Any]:
    """A container of the user's own that runs this Python program."""
    container = {"name": "app", "image": installation.RUNTIME_IMAGE, "command": ["python3", "-c", program], **more}
    return {"pod": {"containers": [container]}}


def given(**environment: object) -> dict[str, Any]:
    return {"pod": {"env": [{"name": name, "value": str(value)} for name, value in environment.items()]}}


def broken(fault: str, value: int) -> dict[str, Any]:
    """The emulated silicon does this wrong to the model's own processes."""
    return given(NEURON_EMULATOR_FAULTS=json.dumps([{"fault": fault, "value": value}]))


FAILS_EARLY = (
    Case("ArtifactNotFound", {"artifact": stored("nowhere")}, "s3://models/nowhere/"),
    Case("ArtifactUnauthorized", {"artifact": stored("tiny", secret="wrong-key")}, "s3://models/tiny/"),
    Case("ArtifactCorrupt", {"artifact": {**stored("tiny"), "digest": f"sha256:{'0' * 64}"}}, "0000"),
    Case("ImagePullFailed", {"runtime": {"image": "registry.invalid/runtime:none"}}, "registry.invalid/runtime:none"),
)
NO_CORE_LEFT = Case("InsufficientNeuronCores", {}, "1 pod without a node", shows=provoking.has_no_node)
FETCHES_NOTHING = (
    Case(
        "ArtifactUnreachable",
        {"artifact": {"uri": "https://127.0.0.1:9/x/"}, **given(NEURON_RUNTIME_FETCH_TIMEOUT_SECONDS=1)},
        "https://127.0.0.1:9/x/",
    ),
    Case("ArtifactTooLarge", given(NEURON_RUNTIME_MAX_BYTES=10), "10"),
    Case("DiskFull", {"artifact": stored("vast")}, "more bytes in /model"),
    Case("ContainerConfigError", {"artifact": stored("tiny", secret="nobodys")}, 'secret "nobodys" not found'),
)
FAILS_LATE = (
    Case("OutOfMemory", {"resources": {"limits": {"memory": "64Mi"}}}, "memory"),
    Case("ModelLoadFailed", {"artifact": stored("unloadable")}, "container runtime"),
    Case("InvalidConfiguration", given(NEURON_RUNTIME_ENGINE="magic"), "engine"),
)
CRASHES = Case("CrashLoop", beside("import time; time.sleep(1); raise SystemExit(3)"), "exit code 3")
THE_DEVICE_REFUSES = (
    Case("NeuronCoresBusy", broken("load_status", 9), "container runtime"),
    Case("CompilerVersionMismatch", {"artifact": stored("for-trn2")}, "trn2"),
    Case("OutOfDeviceMemory", broken("device_memory", 1), "container runtime"),
    Case("HardwareError", broken("load_status", 6), "container runtime"),
)
# As the first process of its container it is told to stop only if it says what it does then.
STAYS = "import signal; signal.signal(signal.SIGTERM, lambda *_: exit()); signal.pause()"
UNWELL = "/tmp/unwell"
PROBED = beside(
    STAYS,
    readinessProbe={
        "exec": {"command": ["python3", "-c", f"import os; raise SystemExit(os.path.exists('{UNWELL}'))"]},
        "periodSeconds": 1,
        "failureThreshold": 1,
    },
)
NEVER_READY = beside(
    STAYS,
    readinessProbe={"exec": {"command": ["python3", "-c", "raise SystemExit(1)"]}, "periodSeconds": 10},
)
GREEDY = beside(
    f"open('{UNWELL}', 'wb').write(bytes(2**25)); {STAYS}",
    resources={"limits": {"ephemeral-storage": "1Mi"}},
)
ILL_LATER = Case("ProbeFailing", PROBED, "readiness probe fails", shows=provoking.lost_readiness)
ENDS_BADLY = (
    Case("Evicted", GREEDY, "ephemeral", shows=provoking.was_ended),
    Case(
        "RolloutStalled",
        {**NEVER_READY, "rollout": {"drainSeconds": 1, "progressDeadlineSeconds": 5}},
        "No progress for 5 seconds",
        "Deployment",
        provoking.is_late,
        is_final=True,
    ),
)
TAINTED = Case("TaintNotTolerated", {}, "not tolerated: ", shows=provoking.has_no_node)
NO_PLUGIN = Case("DevicePluginMissing", {}, "device plugin", shows=provoking.has_no_node)
# These never have a node or even a pod.
NOT_PLACED = (
    Case("NoNeuronNodes", placed_on("inf2.48xlarge"), "inf2.48xlarge", shows=provoking.has_no_node),
    Case(
        "NoMatchingInstanceType",
        placed_on("inf2.6xlarge"),
        "inf2.8xlarge",
        "NeuronModel",
        provoking.is_there,
        is_final=True,
    ),
    Case(
        "SchedulerExtensionRequired",
        {"neuronCores": 3},
        "3 NeuronCores",
        "NeuronModel",
        provoking.is_there,
        is_final=True,
    ),
)
TAKEN_NAME = Case("NameConflict", {}, "A Service nameconflict exists", "NeuronModel", provoking.is_there, is_final=True)
NEVER_PLACED = (
    Case(
        "Unschedulable",
        {"placement": {"nodeSelector": {"example.com/rack": "none"}}},
        "selector",
        shows=provoking.has_no_node,
    ),
    Case("ChildRejected", {"pod": {"serviceAccountName": "nobody"}}, "nobody", "Deployment", provoking.has_no_pods),
)
OVER_QUOTA = Case("QuotaExceeded", {}, "exceeded quota", "Deployment", provoking.has_no_pods)
CORES_AT_RISK = Case(
    "RolloutWouldLoseCores", {"neuronCores": 2, "replicas": 2}, "acceptCoreLoss", "NeuronModel", provoking.was_edited
)


@pytest.fixture(scope="module")
def reactions(summary: Summary) -> Iterator[Reactions]:
    found = Reactions(summary)
    yield found
    if found.seconds:
        summary.add(provoking.TABLE, "median", f"{statistics.median(found.seconds):.2f}")
        assert statistics.median(found.seconds) <= TELLS_WITHIN_S


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


def test_what_keeps_an_artifact_from_arriving_is_told(world: World, reactions: Reactions) -> None:
    with observed(world.kube, world.namespace) as observer:
        provoke(world, FETCHES_NOTHING)
        await_reasons(world, observer, reactions, FETCHES_NOTHING)


def test_what_ends_a_container_is_told_and_goes_on_being_told(world: World, reactions: Reactions) -> None:
    with observed(world.kube, world.namespace) as observer:
        provoke(world, [CRASHES, *FAILS_LATE])
        await_reasons(world, observer, reactions, [CRASHES, *FAILS_LATE])
        observer.first("Pod", lambda pod: provoking.is_of(pod, CRASHES) and restarts(pod) >= 2)
    assert set(provoking.told(observer, CRASHES)) == {"CrashLoop"}, "it was ready for moments and never said so"


def restarts(pod: Body) -> int:
    return sum(container["restartCount"] for container in provoking.containers(pod))


def test_what_the_device_refuses_is_told(world: World, reactions: Reactions) -> None:
    with observed(world.kube, world.namespace) as observer:
        provoke(world, THE_DEVICE_REFUSES)
        await_reasons(world, observer, reactions, THE_DEVICE_REFUSES)


def test_a_probe_that_fails_a_node_that_ends_a_pod_and_a_rollout_without_progress_are_told(
    world: World, reactions: Reactions
) -> None:
    with observed(world.kube, world.namespace) as observer:
        provoke(world, [ILL_LATER, *ENDS_BADLY])
        world.wait_until_ready(ILL_LATER.name)
        (pod,) = world.pod_names(ILL_LATER.name)
        create = f"open('{UNWELL}', 'w')"
        world.kube.kubectl("exec", pod, "-n", world.namespace, "-c", "app", "--", "python3", "-c", create)
        await_reasons(world, observer, reactions, [ILL_LATER, *ENDS_BADLY])


def test_cores_that_a_rollout_could_lose_are_told_until_the_rival_is_gone(world: World, reactions: Reactions) -> None:
    provoke(world, [CORES_AT_RISK])
    world.wait_until_ready(CORES_AT_RISK.name)
    world.apply_model("rival", neuronCores=CORES_PER_NODE)
    world.wait_for_reason("rival", "InsufficientNeuronCores")
    with observed(world.kube, world.namespace) as observer:
        world.patch(CORES_AT_RISK.name, {"serving": {"maxBatchSize": 2}})
        await_reasons(world, observer, reactions, [CORES_AT_RISK])
    world.delete("neuronmodel/rival")
    world.wait_for_reason(CORES_AT_RISK.name, "Progressing")


def test_what_has_no_place_is_told_and_clears(world: World, reactions: Reactions, others_service: str) -> None:
    cases = (*NOT_PLACED, TAKEN_NAME)
    with observed(world.kube, world.namespace) as observer:
        provoke(world, [*cases, *NEVER_PLACED])
        await_reasons(world, observer, reactions, [*cases, *NEVER_PLACED])
    world.delete(others_service)
    for case in NEVER_PLACED:
        world.delete(f"neuronmodel/{case.name}")
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
