"""Whose turn it is to upgrade: one model of the cluster after the other, by namespace and name.

The reconcile asks before it plans and tells afterwards. An upgrade that is under way is seen on the Deployment that
carries its mark, whichever process began it; here is only kept who waits, and who is about to begin, so that two
workers don't begin two. Nobody waits for a clock: who is next is put into the queue when the turn comes free.
"""

import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Literal

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
    """Of the models with upgradePolicy Automatic; `wake` has a model looked at."""

    def __init__(self, wake: Callable[[Key], None] = _nobody) -> None:
        self._wake = wake
        self._waiting: dict[Key, Standing] = {}
        self._seen: set[Key] = set()
        self._beginning: Key | None = None

    @contextmanager
    def turn_of(self, key: Key, indices: Indices) -> Iterator[bool]:
        """Whether the model may begin an upgrade; nobody else may until the look at it has ended."""
        may_begin = self._may_begin(key, indices)
        if may_begin:
            # What becomes of it is told by `settle`; if nothing is, it is tried again when the model is.
            self._beginning, self._waiting[key] = key, "comes-itself"
        try:
            yield may_begin
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
        self._call_next(indices)

    @property
    def waiting(self) -> int:
        return len(self._waiting)

    def _may_begin(self, key: Key, indices: Indices) -> bool:
        standing = self._waiting.get(key)
        is_called = standing == "comes-itself" or (standing == "called" and key == self._next)
        return is_called and self._is_free(key, indices)

    @property
    def _next(self) -> Key | None:
        return min((key for key, standing in self._waiting.items() if standing == "called"), default=None)

    def _call_next(self, indices: Indices) -> None:
        following = self._next
        if following is not None and self._is_free(following, indices):
            self._wake(following)

    def _is_free(self, key: Key, indices: Indices) -> bool:
        """Whether no other model upgrades or is about to, and each was looked at, so that the order is known."""
        if self._beginning is not None and self._beginning != key:
            return False
        others = (at for model in indices.every(KIND) if _is_automatic(model) and (at := key_of(model)) != key)
        return all(other in self._seen and not _is_marked(indices.get("Deployment", other)) for other in others)


def _is_marked(deployment: Body | None) -> bool:
    return deployment is not None and ANNOTATION_UPGRADE in deployment["metadata"].get("annotations", {})


def _is_automatic(model: Body) -> bool:
    """As the API server has it, because it is asked of every model, also of those that can't be read."""
    runtime = model.get("spec", {}).get("runtime", {})
    is_leaving = "deletionTimestamp" in model["metadata"]
    return runtime.get("upgradePolicy") == "Automatic" and not is_leaving
