"""NeuronCores promised to surges whose first pod has no node yet, so that no two rollouts count on the same cores.

The reconcile writes a promise in the same step in which the rollout is decided, before anything is awaited, and takes
it back when what it stood for can be seen on the cluster. It is kept in memory: a process that starts anew knows no
promises; the pods they were made for are then read as waiting ones.
"""

from neuron_operator.indices import Key
from neuron_operator.rollout import Promise


class Ledger:
    """One promise for each model at most."""

    def __init__(self) -> None:
        self._promises: dict[Key, Promise] = {}

    def others(self, key: Key) -> tuple[Promise, ...]:
        return tuple(promise for of, promise in self._promises.items() if of != key)

    def settle(self, key: Key, granted: Promise | None, awaited_revision: str) -> bool:
        """Note a promise just made, or end the one there is unless its revision's pod is still awaited; whether one
        ended, after which what was read of the nodes before is no longer the whole truth."""
        if granted is not None:
            self._promises[key] = granted
            return False
        held = self._promises.get(key)
        if held is None or held.revision == awaited_revision:
            return False
        del self._promises[key]
        return True
