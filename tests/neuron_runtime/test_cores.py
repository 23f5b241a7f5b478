"""What the device plugin's variable means, in all the forms it comes in."""

import orjson
import pytest

from neuron_runtime.cores import (
    choose_cores,
    cores_from_device_nodes,
    cores_from_neuron_ls,
    parse_core_list,
    process_tag_prefix,
    worker_environment,
)
from neuron_runtime.termination import FatalError

DEVICE = {"neuron_device": 1, "nc_count": 2, "memory_size": 34359738368}


@pytest.mark.parametrize(
    ("text", "cores"), [("1", (1,)), ("0-1", (0, 1)), ("0,1", (0, 1)), ("4-6, 9", (4, 5, 6, 9)), ("3,1", (3, 1))]
)
def test_core_lists(text: str, cores: tuple[int, ...]) -> None:
    assert parse_core_list(text) == cores


@pytest.mark.parametrize("text", ["a", "1-", "3-1", "0,0", "0-1,1", ",", "-1"])
def test_what_is_no_core_list_says_what_one_looks_like(text: str) -> None:
    with pytest.raises(FatalError, match="not a list of cores such as 1, 0-1 or 0,1"):
        parse_core_list(text)


@pytest.mark.parametrize(
    ("document", "cores"),
    [
        pytest.param([DEVICE | {"neuroncore_ids": [2, 3]}], (2, 3), id="ids"),
        pytest.param([DEVICE], (2, 3), id="no ids before 2.25"),
        pytest.param({"instance": "inf2.xlarge", "devices": [DEVICE]}, (2, 3), id="an object since 2.34"),
        pytest.param([], (), id="no device"),
        pytest.param("text", (), id="something else"),
    ],
)
def test_neuron_ls(document: object, cores: tuple[int, ...]) -> None:
    assert cores_from_neuron_ls(orjson.dumps(document)) == cores


def test_neuron_ls_garbage_and_device_nodes() -> None:
    assert cores_from_neuron_ls(b"neuron-ls: no driver") == ()
    assert cores_from_device_nodes(["neuron1", "null", "neuron0", "neuron_x"]) == (0, 1, 2, 3)


def test_choosing_cores() -> None:
    assert choose_cores((4, 5, 6), 0) == (4, 5, 6)
    assert choose_cores((4, 5, 6), 2) == (4, 5)
    with pytest.raises(FatalError, match=r"3 NeuronCores are configured, but this container sees 1 \(0\)"):
        choose_cores((0,), 3)


def test_a_worker_sees_its_own_core_only() -> None:
    given = {"NEURON_RT_VISIBLE_CORES": "0-1", "NEURON_RT_NUM_CORES": "2", "PATH": "/bin"}

    assert worker_environment(given, 1, "ns/pod/model/nc1") == {
        "NEURON_RT_VISIBLE_CORES": "1",
        "NEURON_PROCESS_TAG": "ns/pod/model/nc1",
        "PATH": "/bin",
    }
    assert "NEURON_RT_VISIBLE_CORES" not in worker_environment(given, None, "tag")


def test_process_tags_name_the_pod_and_stay_short_enough() -> None:
    assert process_tag_prefix({"POD_NAME": "s-1", "POD_NAMESPACE": "ml"}, "sentiment", 5) == "ml/s-1/sentiment/"
    assert process_tag_prefix({}, "sentiment", 5) == "local/5/sentiment/"
    assert len(process_tag_prefix({"POD_NAME": "p" * 253}, "m" * 128, 5) + "nc-128") == 255
