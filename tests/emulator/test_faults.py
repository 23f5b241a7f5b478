"""When an injected fault strikes, and how a node is broken and healed."""

from pathlib import Path

import pytest

from emulated_node.faults import KINDS, Faults
from emulated_node.node import Node
from emulator.faults import heal, inject, main


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, {})


@pytest.mark.parametrize(
    ("limits", "core", "struck"),
    [
        pytest.param({}, 0, [True, True, True], id="always"),
        pytest.param({"times": 2}, 0, [True, True, False], id="twice"),
        pytest.param({"after": 1}, 0, [False, True, True], id="after-the-first"),
        pytest.param({"after": 1, "times": 1}, 0, [False, True, False], id="only-the-second"),
        pytest.param({"cores": [1]}, 0, [False, False, False], id="another-core"),
        pytest.param({"cores": [1]}, 1, [True, True, True], id="that-core"),
        pytest.param({"tag": "^other/"}, 0, [False, False, False], id="another-process"),
        pytest.param({"tag": "^mine/"}, 0, [True, True, True], id="this-process"),
    ],
)
def test_strikes(node: Node, limits: dict[str, object], core: int, struck: list[bool]) -> None:
    inject(node.directory, {"fault": "execution_status", "value": 1005} | limits)
    faults = Faults(node, "mine/pod", {})

    assert [faults.strike("execution_status", core) == 1005 for _ in struck] == struck


def test_a_running_process_is_broken_and_healed(node: Node) -> None:
    faults = Faults(node, "1", {})
    before = faults.strike("load_status")
    inject(node.directory, {"fault": "load_status", "value": 4})
    broken = faults.strike("load_status")
    heal(node.directory)

    assert (before, broken, faults.strike("load_status")) == (None, 4, None)


def test_a_fault_says_so_on_standard_error(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    inject(node.directory, {"fault": "slow_load", "value": 0.5})

    Faults(node, "1", {}).strike("slow_load", 0)

    assert "INJECTED FAULT slow_load=0.5 core=0" in capsys.readouterr().err


def test_one_process_can_be_broken_by_its_environment(node: Node) -> None:
    own = {"NEURON_EMULATOR_FAULTS": '[{"fault": "device_memory", "value": 1000}]'}

    assert Faults(node, "1", own).stands("device_memory") == 1000
    assert Faults(node, "2", {}).stands("device_memory") is None


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param({"fault": "meteor", "value": 1}, id="no-such-kind"),
        pytest.param({"fault": "slow_load", "value": 1, "core": 1}, id="no-such-limit"),
        pytest.param({"fault": "slow_load", "value": 1, "cores": 1}, id="cores-no-list"),
    ],
)
def test_faults_that_do_not_exist_are_refused(node: Node, fault: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="fault"):
        inject(node.directory, fault)
    assert not (node.directory / "faults.json").exists()


def test_the_command_line_adds_and_clears(node: Node, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(node.directory), "add", "execution_hang=-1", "--cores", "1"]) == 0
    assert Faults(node, "1", {}).strike("execution_hang", 1) == -1
    assert main([str(node.directory), "add", "meteor=1"]) == 2
    assert main([str(node.directory), "clear"]) == 0
    assert Faults(node, "1", {}).strike("execution_hang", 1) is None
    assert "no such fault" in capsys.readouterr().err


def test_every_kind_is_explained() -> None:
    assert all(KINDS.values())
