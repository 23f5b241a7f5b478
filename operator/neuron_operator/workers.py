"""The worker loops: take a key, reconcile it, decide by the kind of error when to try again.

process.py starts them; they wait at the gate, so that a process that may not write does not decide either. This is the
one place that survives any exception: a bug met by one object must not stop the others.
"""

import asyncio
import json
import logging
from collections.abc import Awaitable, Callable
from typing import Final

from neuron_operator import errors
from neuron_operator.gate import Gate
from neuron_operator.indices import Key
from neuron_operator.metrics import Metrics
from neuron_operator.workqueue import FIRST_RETRY_S, WorkQueue

logger = logging.getLogger(__name__)

# Whoever wrote in between is done by then, and the newer object is often known already, so that no event would wake us.
FIRST_RETRY_OF_CONFLICT_S: Final = 0.01

Reconcile = Callable[[Key], Awaitable[float | None]]


async def work(queue: WorkQueue[Key], gate: Gate, reconcile: Reconcile, metrics: Metrics) -> None:
    """One worker, until it is cancelled."""
    loop = asyncio.get_running_loop()
    while True:
        await gate.wait_until_open()
        key = await queue.take()
        started = loop.time()
        outcome = "failed"
        try:
            outcome = await _look_at(key, queue, reconcile)
        except Exception:
            delay_s = queue.retry(key)
            message = 'model=%s/%s action=retry after_s=%.1f reason=Bug message="please report it, with what follows"'
            logger.exception(message, *key, delay_s)
        finally:
            queue.done(key)
            metrics.reconcile_seconds.labels(outcome).observe(loop.time() - started)


async def _look_at(key: Key, queue: WorkQueue[Key], reconcile: Reconcile) -> str:
    try:
        look_again_s = await reconcile(key)
    except errors.LeadershipLostError:
        queue.add(key)
        return "retried"
    except errors.ApiError as error:
        at_least_s = error.retry_after_s if isinstance(error, errors.ThrottledError) else 0.0
        is_conflict = isinstance(error, errors.ConflictError)
        delay_s = queue.retry(key, at_least_s, FIRST_RETRY_OF_CONFLICT_S if is_conflict else FIRST_RETRY_S)
        # A conflict is how the next look gets the newer object, nothing to worry about.
        level = logging.DEBUG if is_conflict else logging.WARNING
        reason, message = type(error).__name__.removesuffix("Error"), json.dumps(str(error))
        logger.log(level, "model=%s/%s action=retry after_s=%.1f reason=%s message=%s", *key, delay_s, reason, message)
        return "retried"
    queue.forget(key)
    if look_again_s is not None:
        queue.add_after(key, look_again_s)
    return "done"
