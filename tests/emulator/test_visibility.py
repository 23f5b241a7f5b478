"""Which cores a process asks for, from its environment."""

import pytest

from emulated_node.instances import INSTANCES
from emulated_node.nrt import NrtError
from emulated_node.visibility import core_request

SMALL, LARGE = INSTANCES["inf2.xlarge"], INSTANCES["inf2.24xlarge"]


@pytest.mark.parametrize(
    ("environment", "candidates", "count", "named"),
    [
        pytest.param({}, (0, 1), 2, "nc0-nc1", id="every-core-by-default"),
        pytest.param({"NEURON_RT_VISIBLE_CORES": "1"}, (1,), 1, "nc1", id="one"),
        pytest.param({"NEURON_RT_VISIBLE_CORES": "0-1"}, (0, 1), 2, "nc0-nc1", id="range"),
        pytest.param({"NEURON_RT_VISIBLE_CORES": "0,1"}, (0, 1), 2, "nc0-nc1", id="list"),
        pytest.param({"NEURON_RT_VISIBLE_CORES": " 1 , 0 "}, (0, 1), 2, "nc0-nc1", id="spaces-and-order"),
        pytest.param({"NEURON_RT_NUM_CORES": "1"}, (0, 1), 1, "1", id="any-one"),
        pytest.param({"NEURON_RT_NUM_CORES": "0"}, (0, 1), 2, "nc0-nc1", id="zero-is-all"),
        pytest.param(
            {"NEURON_RT_VISIBLE_CORES": "1", "NEURON_RT_NUM_CORES": "2"}, (1,), 1, "nc1", id="visible-cores-win"
        ),
    ],
)
def test_core_request(environment: dict[str, str], candidates: tuple[int, ...], count: int, named: str) -> None:
    request = core_request(environment, SMALL)

    assert (request.candidates, request.count, str(request)) == (candidates, count, named)


def test_cores_of_whole_devices_are_counted_from_zero_in_the_container() -> None:
    request = core_request({"NEURON_EMULATOR_DEVICES": "2,3", "NEURON_RT_VISIBLE_CORES": "1-2"}, LARGE)

    assert request.candidates == (5, 6)


@pytest.mark.parametrize(
    "environment",
    [
        pytest.param({"NEURON_RT_VISIBLE_CORES": "2"}, id="beyond-the-last"),
        pytest.param({"NEURON_RT_VISIBLE_CORES": "one"}, id="no-number"),
        pytest.param({"NEURON_RT_VISIBLE_CORES": "1-0"}, id="backwards"),
        pytest.param({"NEURON_RT_VISIBLE_CORES": "-1"}, id="negative"),
        pytest.param({"NEURON_RT_NUM_CORES": "3"}, id="too-many"),
        pytest.param({"NEURON_RT_NUM_CORES": "two"}, id="count-is-no-number"),
    ],
)
def test_impossible_requests_are_invalid(environment: dict[str, str]) -> None:
    with pytest.raises(NrtError, match="status=2") as raised:
        core_request(environment, SMALL)
    assert raised.value.status == 2


def test_scattered_cores_are_refused_as_the_runtime_does() -> None:
    with pytest.raises(NrtError, match="Neuron cores are not contiguous"):
        core_request({"NEURON_RT_VISIBLE_CORES": "0,2"}, LARGE)
