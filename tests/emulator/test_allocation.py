"""Which ids the plugin prefers and what a container is given for them."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from emulated_node.instances import INSTANCES
from emulator.allocation import (
    CORE_RESOURCE,
    DEVICE_RESOURCE,
    HostPaths,
    grant,
    is_healthy,
    number_of,
    offered_ids,
    preferred_ids,
)

SMALL, LARGE = INSTANCES["inf2.xlarge"], INSTANCES["inf2.24xlarge"]
PATHS = HostPaths(Path("/cache/torch"), Path("/cache/stand-ins"), Path("/cache/bin"), Path("/state"))


def cores(*numbers: int) -> list[str]:
    return [f"neuroncore-{number}" for number in numbers]


def test_both_resources_count_the_same_silicon() -> None:
    assert offered_ids(CORE_RESOURCE, LARGE) == tuple(cores(*range(12)))
    assert offered_ids(DEVICE_RESOURCE, LARGE) == tuple(f"neuron-{number}" for number in range(6))


@pytest.mark.parametrize(
    ("available", "must", "size", "expected"),
    [
        pytest.param(cores(0, 1), [], 1, cores(0), id="lowest-of-a-free-device"),
        pytest.param(cores(3, 2, 1), [], 2, cores(2, 3), id="one-device-rather-than-two"),
        pytest.param(cores(0, 1, 3), [], 1, cores(3), id="fills-a-gap-before-breaking-a-pair"),
        pytest.param(cores(1, 2, 5), [], 2, cores(1, 2), id="contiguous-across-devices-when-no-device-is-free"),
        pytest.param(cores(0, 1, 2, 3), cores(1), 2, cores(0, 1), id="keeps-what-must-be-included"),
        pytest.param(cores(0, 2, 4), [], 2, cores(0, 2), id="scattered-when-nothing-else-is-left"),
        pytest.param(cores(0), [], 2, cores(0), id="too-few"),
    ],
)
def test_preferred_ids(available: list[str], must: list[str], size: int, expected: list[str]) -> None:
    assert list(preferred_ids(available, must, size, group=2)) == expected


@given(st.sets(st.integers(0, 11), min_size=1), st.integers(1, 12))
def test_preferred_ids_are_contiguous_whenever_a_run_is_free(free: set[int], size: int) -> None:
    chosen = sorted(number_of(name) for name in preferred_ids(cores(*free), [], size, group=2))

    runs = [start for start in free if all(start + step in free for step in range(size))]
    assert len(chosen) == min(size, len(free))
    assert set(chosen) <= free
    if runs:
        assert chosen == list(range(chosen[0], chosen[0] + size))


@pytest.mark.parametrize(
    ("ids", "form", "expected"),
    [
        pytest.param(cores(1), "list", "1", id="one-core"),
        pytest.param(cores(1, 0), "list", "0,1", id="list"),
        pytest.param(cores(1, 0), "range", "0-1", id="range"),
        pytest.param(cores(1), "range", "1", id="range-of-one"),
        pytest.param(cores(0, 2), "range", "0,2", id="scattered-cores-are-never-a-range"),
    ],
)
def test_cores_are_named_in_the_documented_forms(ids: list[str], form: str, expected: str) -> None:
    assert grant(ids, CORE_RESOURCE, LARGE, PATHS, form).environment["NEURON_RT_VISIBLE_CORES"] == expected


def test_a_core_comes_with_its_device_and_the_stand_ins() -> None:
    given_for = grant(cores(3), CORE_RESOURCE, LARGE, PATHS, "list")

    assert given_for.devices == ("/dev/neuron1",)
    assert given_for.environment == {
        "NEURON_RT_VISIBLE_CORES": "3",
        "PYTHONPATH": "/opt/neuron-emulator/stand-ins:/opt/neuron-emulator/site-packages",
        "NEURON_EMULATOR_STATE": "/run/neuron-emulator",
    }
    assert given_for.mounts == (
        ("/opt/neuron-emulator/site-packages", Path("/cache/torch"), True),
        ("/opt/neuron-emulator/stand-ins", Path("/cache/stand-ins"), True),
        ("/opt/aws/neuron/bin", Path("/cache/bin"), True),
        ("/run/neuron-emulator", Path("/state"), False),
    )


def test_whole_devices_come_without_visible_cores() -> None:
    given_for = grant(["neuron-2", "neuron-1"], DEVICE_RESOURCE, LARGE, PATHS, "list")

    assert "NEURON_RT_VISIBLE_CORES" not in given_for.environment
    assert given_for.environment["NEURON_EMULATOR_DEVICES"] == "1,2"
    assert given_for.devices == ("/dev/neuron1", "/dev/neuron2")


@pytest.mark.parametrize(
    ("device_id", "unhealthy", "expected"),
    [
        pytest.param("neuroncore-1", [], True, id="nothing-wrong"),
        pytest.param("neuroncore-1", ["neuroncore-1"], False, id="core-named"),
        pytest.param("neuroncore-1", ["neuroncore-0"], True, id="other-core-named"),
        pytest.param("neuroncore-1", ["neuron-0"], False, id="its-device-named"),
        pytest.param("neuron-0", ["neuroncore-0"], True, id="device-of-a-named-core"),
        pytest.param("neuron-0", ["neuron-0"], False, id="device-named"),
    ],
)
def test_health(device_id: str, unhealthy: list[str], *, expected: bool) -> None:
    assert is_healthy(device_id, unhealthy, SMALL) is expected
