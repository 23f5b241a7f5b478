"""The loop over a cluster in memory, for tests that let it run until nothing is left to do."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from prometheus_client import CollectorRegistry

from fakes.cluster import FakeCluster
from model_builders import settings
from neuron_operator import nodes
from neuron_operator.cluster import Ref
from neuron_operator.gate import Gate
from neuron_operator.indices import Indices, Key
from neuron_operator.metrics import Metrics
from neuron_operator.reconcile import Reconciler
from neuron_operator.workqueue import WorkQueue
from neuron_operator.writes import PROGRESS_EVERY, Writer

KEY = Key("shop", "sentiment")
NOW = datetime(2026, 1, 1, tzinfo=UTC)
# More than any object needs: the first look writes, the second finds nothing to do.
MOST_LOOKS = 5


@dataclass
class World:
    """`calls` are what was asked of the cluster, `looks` how often the model was looked at, both in the last settling;
    `look_again_s` is when it would be looked at next."""

    cluster: FakeCluster = field(default_factory=FakeCluster)
    calls: list[tuple[str, str]] = field(default_factory=list)
    looks: int = 0
    look_again_s: float | None = None
    now: datetime = NOW

    def __post_init__(self) -> None:
        self.indices, gate = Indices(), Gate()
        gate.open()
        watch = nodes.NodeWatch(self.cluster, self.indices, WorkQueue[Key]())
        writer = Writer(self.cluster, self.indices, gate, Metrics(CollectorRegistry()))
        self.reconciler = Reconciler(self.indices, writer, watch, settings(), lambda: self.now)

    def write(self, body: dict[str, Any]) -> None:
        """Somebody writes an object, and the watch tells."""
        self.indices.put(body["kind"], self.cluster.put(body))

    def model(self) -> dict[str, Any]:
        return self.cluster.objects[Ref("NeuronModel", *KEY)]

    async def settle(self) -> None:
        """Look until a look writes nothing."""
        self.calls, self.looks = [], 0
        while self.looks < MOST_LOOKS:
            self.looks += 1
            self.now += PROGRESS_EVERY
            self.cluster.calls.clear()
            self.look_again_s = await self.reconciler.reconcile(KEY)
            if not self.cluster.calls:
                return
            self.calls += self.cluster.calls
        raise AssertionError(f"after {self.looks} looks there is still something to write: {self.cluster.calls}")
