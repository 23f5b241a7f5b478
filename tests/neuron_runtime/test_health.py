"""Ready means that a worker is, now."""

import pytest

from neuron_runtime.health import WorkerState, readiness

READY, LOST, LOADING = WorkerState.READY, WorkerState.LOST, WorkerState.LOADING


@pytest.mark.parametrize(
    ("states", "is_draining", "is_ready", "reason"),
    [
        ([READY, LOST], False, True, "1 of 2 workers are ready"),
        ([LOADING, LOADING], False, False, "no worker is ready (2 loading)"),
        ([LOST, LOADING], False, False, "no worker is ready (1 loading, 1 lost)"),
        ([], False, False, "no worker is ready (none configured)"),
        ([READY], True, False, "draining: the pod is shutting down"),
    ],
)
def test_readiness(states: list[WorkerState], is_draining: bool, is_ready: bool, reason: str) -> None:
    now = readiness(states, is_draining=is_draining)

    assert (now.is_ready, now.reason) == (is_ready, reason)
