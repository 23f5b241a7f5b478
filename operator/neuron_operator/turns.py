"""Whose turn it is to upgrade: one model of the cluster after the other, by namespace and name.

The reconcile asks before it plans and tells afterwards. An upgrade that is under way is seen on the Deployment that
carries its mark, whichever process began it; here is only kept who waits, and who is about to begin, so that two
workers don't begin two. Nobody waits for a clock: who is next is put into the queue when the turn comes free.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

from neuron_operator.errors import UnreachableError
from neuron_operator.indices import Indices, Key, key_of
from neuron_operator.names import ANNOTATION_UPGRADE, KIND
from neuron_operator.plan import Plan

logger = logging.getLogger(__name__)

Body = Mapping[str, Any]
# Who is called waits for the turn; who comes itself was held or refused when it had it, and looks again on its own.
Standing = Literal["called", "comes-itself"]


def _nobody(_: Key) -> None:
    """Where nothing is queued, as in a test that looks at each model by hand."""


class Turns:
    """Of the models with upgradePolicy Automatic; `wake` has a model looked at, and one whose namespace may not be read
    for now, by `reads`, is in nobody's way."""

    def __init__(self, wake: Callable[[Key], None] = _nobody, reads: Callable[[Key], bool] = lambda key: True) -> None:
        self._wake, self._reads = wake, reads
        self._waiting: dict[Key, Standing] = {}
        self._seen: set[Key] = set()
        self._beginning: Key | None = None
        # No answer came to what its upgrade began with: perhaps it was carried out, and no watch has told yet.
        self._in_doubt: Key | None = None
        # Found at the last look at all models: as long as one of these still is in the way, nobody else need be asked.
        self._in_the_way: list[Key] = []

    @contextmanager
    def turn_of(self, key: Key, indices: Indices) -> Iterator[bool]:
        """Whether the model may begin an upgrade; nobody else may until the look at it has ended."""
        may_begin = self._may_begin(key, indices)
        if may_begin:
            # What becomes of it is told by `settle`; if nothing is, it is tried again when the model is.
            self._beginning, self._waiting[key] = key, "comes-itself"
        try:
            yield may_begin
        except UnreachableError:
            self._in_doubt = key if may_begin else self._in_doubt
            raise
        else:
            self._end_doubt(key)
        finally:
            self._seen.add(key)
            if may_begin:
                self._beginning = None
            self._call_next(indices)

    def settle(self, key: Key, plan: Plan, *, is_refused: bool) -> None:
        """Note where the model stands, once everything is written."""
        is_begun = plan.upgrade == "starts" and not is_refused
        if plan.upgrade == "waits":
            self._waiting[key] = "called"
        elif plan.upgrade == "held" or (plan.upgrade == "starts" and is_refused):
            self._waiting[key] = "comes-itself"
        else:
            self._waiting.pop(key, None)
        if is_begun and plan.version is not None:
            logger.info("upgrade model=%s/%s action=begun revision=%s", *key, plan.version.frozen.name)

    def forget(self, key: Key, indices: Indices) -> None:
        """The model is gone, and its upgrade with it."""
        self._seen.discard(key)
        self._waiting.pop(key, None)
        self._end_doubt(key)
        self._call_next(indices)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def _may_begin(self, key: Key, indices: Indices) -> bool:
        standing = self._waiting.get(key)
        if standing is None or not self._is_free(key, indices):
            return False
        return standing == "comes-itself" or key == self._next

    @property
    def _next(self) -> Key | None:
        called = (key for key, standing in self._waiting.items() if standing == "called" and self._reads(key))
        return min(called, default=None)

    def _call_next(self, indices: Indices) -> None:
        if (following := self._next) is not None and self._is_free(None, indices):
            self._wake(following)

    def _is_free(self, key: Key | None, indices: Indices) -> bool:
        """Whether no model upgrades, no other is about to, and each was looked at, so that the order is known."""
        if {self._beginning, self._in_doubt} - {None, key}:
            return False
        while self._in_the_way:
            if self._is_in_the_way(indices.get(KIND, self._in_the_way[-1]), indices):
                return False
            self._in_the_way.pop()
        self._in_the_way = [key_of(model) for model in indices.every(KIND) if self._is_in_the_way(model, indices)]
        return not self._in_the_way

    def _end_doubt(self, key: Key) -> None:
        if self._in_doubt == key:
            self._in_doubt = None

    def _is_in_the_way(self, model: Body | None, indices: Indices) -> bool:
        if model is None or not _is_automatic(model):
            return False
        at = key_of(model)
        return self._reads(at) and (at not in self._seen or _is_marked(indices.get("Deployment", at)))


def _is_marked(deployment: Body | None) -> bool:
    return deployment is not None and ANNOTATION_UPGRADE in deployment["metadata"].get("annotations", {})


def _is_automatic(model: Body) -> bool:
    """As the API server has it, because it is asked of every model, also of those that can't be read."""
    runtime = model.get("spec", {}).get("runtime", {})
    is_leaving = "deletionTimestamp" in model["metadata"]
    return runtime.get("upgradePolicy") == "Automatic" and not is_leaving
