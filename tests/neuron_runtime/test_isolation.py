"""When a suspect may run, and what is remembered of payloads that crash."""

import numpy as np
import pytest

from neuron_runtime.isolation import MOST_REFUSED, Fleet, RefusedPayloads, fingerprint


@pytest.mark.parametrize(
    ("ready", "usable", "now", "may_run"),
    [
        pytest.param(2, 2, 0.0, True, id="another worker goes on serving"),
        pytest.param(1, 2, 0.0, False, id="the other worker is on its way"),
        pytest.param(1, 2, 15.0, True, id="half of its time is over"),
        pytest.param(1, 1, 0.0, True, id="there will be no other worker"),
        pytest.param(0, 2, 99.0, False, id="nobody is there"),
    ],
)
def test_a_suspect_runs_when(ready: int, usable: int, now: float, may_run: bool) -> None:
    assert Fleet(ready, usable).may_run_suspect(now, patience_ends=15.0) is may_run


def test_a_payload_is_refused_for_its_time_and_no_longer() -> None:
    refused = RefusedPayloads(60)
    refused.add(b"deadly", 100.0)

    assert refused.seconds_left(b"deadly", 130.0) == 30.0
    assert refused.seconds_left(b"other", 130.0) == 0.0
    assert refused.seconds_left(b"deadly", 160.0) == 0.0
    assert len(refused) == 0


def test_refusing_can_be_turned_off() -> None:
    refused = RefusedPayloads(0)
    refused.add(b"deadly", 100.0)

    assert len(refused) == 0


def test_memory_of_refused_payloads_is_bounded() -> None:
    refused = RefusedPayloads(60)
    for number in range(MOST_REFUSED + 1):
        refused.add(str(number).encode(), 0.0)

    assert len(refused) == MOST_REFUSED
    assert refused.seconds_left(b"0", 1.0) == 0.0


def test_equal_bytes_of_another_datatype_or_shape_are_another_payload() -> None:
    row = np.zeros((1, 4), dtype=np.float32)

    assert fingerprint([row]) == fingerprint([row.copy()])
    assert len({fingerprint([a]) for a in (row, row.view(np.int32), row.reshape(2, 2), row + 1)}) == 4
