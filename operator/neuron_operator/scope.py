"""What the operator reads: which kinds, and each of them everywhere or in single namespaces. Pure.

`watching.py` asks for these streams and no others, so that nothing is asked for which the chart's roles don't grant.

| kind                                  | the whole cluster       | single namespaces      |
|---------------------------------------|-------------------------|------------------------|
| models, their children and pods, HPAs | everywhere              | in each of them        |
| our Lease                             | in the Lease's namespace, where replicas elect   |
| nodes                                 | unless told not to      | only if told to        |
| served APIs                           | yes                     | no                     |
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from neuron_operator.indices import API_SERVICE, CHILD_KINDS, HPA
from neuron_operator.names import KIND
from neuron_operator.settings import Settings

EVERYWHERE: Final = ""
LEASE: Final = "Lease"
NODE: Final = "Node"
OF_MODELS: Final = (KIND, *CHILD_KINDS, "Pod", HPA)


class Stream(NamedTuple):
    """One list and the watches that follow it."""

    kind: str
    namespace: str = EVERYWHERE

    def __str__(self) -> str:
        return f"{self.kind} in {self.namespace}" if self.namespace else self.kind


@dataclass(frozen=True)
class Scope:
    """No namespaces are the whole cluster; without a namespace of the Lease nobody elects."""

    namespaces: tuple[str, ...] = ()
    lease_namespace: str = ""
    reads_nodes: bool = True

    @classmethod
    def of(cls, settings: Settings) -> "Scope":
        return cls(
            namespaces=settings.watch_namespaces,
            lease_namespace=settings.lease_namespace if settings.leader_election else "",
            reads_nodes=settings.may_read_nodes,
        )

    @property
    def streams(self) -> tuple[Stream, ...]:
        of_models = [Stream(kind, namespace) for namespace in self.asked_namespaces for kind in OF_MODELS]
        others = {
            Stream(NODE): self.reads_nodes,
            Stream(API_SERVICE): not self.namespaces,
            Stream(LEASE, self.lease_namespace): bool(self.lease_namespace),
        }
        return (*of_models, *(stream for stream, is_wanted in others.items() if is_wanted))

    @property
    def asked_namespaces(self) -> Sequence[str]:
        """Where models are asked for."""
        return self.namespaces or (EVERYWHERE,)

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(stream.kind for stream in self.streams))

    @property
    def all_namespaces(self) -> tuple[str, ...]:
        """The Lease's too; empty for the whole cluster."""
        return tuple(sorted({*self.namespaces, self.lease_namespace} - {""})) if self.namespaces else ()

    def stream_for(self, kind: str, namespace: str | None) -> Stream | None:
        """What to ask for in place of every object of the kind in the namespace, None being everywhere; None for
        nothing: who embeds us watches each kind in each namespace, or each kind everywhere."""
        streams = [stream for stream in self.streams if stream.kind == kind]
        if namespace is None:
            return streams[0] if streams else None
        return next((stream for stream in streams if stream.namespace == namespace), None)
