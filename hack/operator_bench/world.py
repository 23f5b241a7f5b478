"""A control plane of one run alone, with nodes for its models, and the operator on it; gone with its folder."""

import contextlib
import shutil
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import psutil

from bench.errors import BenchError
from cluster.progress import step
from local_control_plane import ROOT, ControlPlane, OperatorProcess
from local_control_plane.client import Client, RefusedError
from local_control_plane.nodes import create_nodes
from operator_bench.audit import asked
from operator_bench.models import MODELS, NAMESPACE, is_served, nodes_for
from operator_bench.sightings import Sightings, watched

CRD = ROOT / "crds" / "neuronmodels.neuron-serving.dev.yaml"
# With their defaults the controllers, not the operator, would be what is measured.
REQUESTS_PER_SECOND = 1000
RECONCILES = "neuron_serving_operator_reconcile_duration_seconds_count"
LOOK_EVERY_S = 0.25
QUIET_S, QUIET_TIMEOUT_S = 3.0, 300.0


@contextlib.contextmanager
def bare_control_plane(models: int) -> Iterator[tuple[ControlPlane, Client]]:
    """With the resource defined, the namespace, and nodes for so many models; nobody acts on them yet."""
    folder = Path(tempfile.mkdtemp(prefix="operator-bench-"))
    control_plane = ControlPlane(folder, audit_level="Metadata")
    try:
        with step(f"control plane with {nodes_for(models)} nodes"):
            control_plane.start()
            control_plane.start_controller_manager(requests_per_second=REQUESTS_PER_SECOND)
            control_plane.start_scheduler(requests_per_second=REQUESTS_PER_SECOND)
            control_plane.start_kwok()
            control_plane.kubectl("apply", "--server-side", f"--filename={CRD}")
            control_plane.kubectl("wait", "--for=condition=Established", f"--filename={CRD}", "--timeout=120s")
            control_plane.kubectl("create", "namespace", NAMESPACE)
            create_nodes(control_plane, nodes_for(models))
            client = Client(control_plane.kubeconfig)
            _wait_until_stored(client)
        with contextlib.closing(client):
            yield control_plane, client
    finally:
        control_plane.stop()
        shutil.rmtree(folder, ignore_errors=True)


@dataclass
class World:
    """The operator at work. `operator` is the one that leads; whoever ends it puts the next one in its place."""

    control_plane: ControlPlane
    client: Client
    models: Sightings
    operator: OperatorProcess
    others: list[OperatorProcess] = field(default_factory=list)

    def another_operator(self) -> OperatorProcess:
        """One more, which waits for the lease once it is ready."""
        made = _operator(self.control_plane, len(self.others) + 1)
        self.others.append(made)
        made.start()
        return made

    def cpu_seconds(self) -> float:
        """User and system time of the operator's process since its start."""
        times = psutil.Process(self.operator.process.pid).cpu_times()
        return float(times.user + times.system)

    def looks(self) -> float:
        """How often the operator has looked at a model since its start."""
        return self.operator.metric(RECONCILES)

    def wait_until_quiet(self) -> None:
        """Nothing waits for the operator, and for a while it has asked nothing of the API server but its Lease."""
        deadline, position, since = time.monotonic() + QUIET_TIMEOUT_S, self.control_plane.audit_position(), 0.0
        while since == 0.0 or time.monotonic() - since < QUIET_S:
            if time.monotonic() > deadline:
                raise BenchError(f"the operator still writes after {QUIET_TIMEOUT_S:.0f} s:\n{self.last_words()}")
            found = asked(self.control_plane.requests_by_operator(position))
            if since == 0.0 or found.writes or found.events or not self.operator.is_idle():
                since, position = time.monotonic(), self.control_plane.audit_position()
            time.sleep(LOOK_EVERY_S)

    def wait_for_reconciles(self, count: int, timeout_s: float) -> None:
        """Until the operator has looked that often, and no model waits."""
        deadline = time.monotonic() + timeout_s
        while self.looks() < count or not self.operator.is_idle():
            if time.monotonic() > deadline:
                raise BenchError(f"not every model was looked at after {timeout_s:.0f} s:\n{self.last_words()}")
            time.sleep(LOOK_EVERY_S)

    def last_words(self) -> str:
        return "\n".join(self.operator.log.read_text().splitlines()[-20:])


@contextlib.contextmanager
def world(models: int) -> Iterator[World]:
    """A control plane for so many models, and an operator that leads; there are no models yet."""
    with contextlib.ExitStack() as stack:
        control_plane, client = stack.enter_context(bare_control_plane(models))
        made = World(
            control_plane, client, stack.enter_context(watched(client, MODELS, is_served)), _operator(control_plane, 0)
        )
        stack.callback(_end, made)
        made.operator.start()
        _wait_until_leading(made.operator)
        yield made


def _wait_until_stored(client: Client) -> None:
    """A definition may be established a moment before its objects can be listed."""
    deadline = time.monotonic() + QUIET_TIMEOUT_S
    while True:
        try:
            client.request("GET", MODELS)
        except RefusedError as error:
            if error.code not in (404, 429) or time.monotonic() > deadline:
                raise
            time.sleep(LOOK_EVERY_S)
        else:
            return


def _operator(control_plane: ControlPlane, number: int) -> OperatorProcess:
    """With the settings that are shipped. Its log is kept beside the control plane's."""
    return OperatorProcess(
        control_plane.operator_kubeconfig,
        control_plane.folder / f"operator-{number}.log",
        {"pod_name": f"operator-{number}"},
    )


def _wait_until_leading(operator: OperatorProcess) -> None:
    deadline = time.monotonic() + QUIET_TIMEOUT_S
    while operator.metric("neuron_serving_operator_leader") != 1:
        if time.monotonic() > deadline:
            raise BenchError("the operator does not lead")
        time.sleep(LOOK_EVERY_S)


def _end(made: World) -> None:
    """At once: the control plane goes too."""
    for operator in (made.operator, *made.others):
        operator.kill()
