"""Who owns a core, across real processes; without torch, so that each takes a tenth of a second."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from emulated_node.claims import claim, owners
from emulated_node.node import Node
from emulated_node.nrt import NrtError
from emulated_node.visibility import CoreRequest

pytestmark = pytest.mark.integration

STAND_INS = Path(__file__).parents[2] / "hack" / "emulator" / "stand-ins"
OWNER = """
import sys
from emulated_node.claims import claim
from emulated_node.node import Node
from emulated_node.visibility import core_request
node = Node.from_environment()
print(claim(node, core_request({"NEURON_RT_VISIBLE_CORES": sys.argv[1]}, node.facts), "owner"), flush=True)
sys.stdin.read()
"""
BOTH, FIRST, ANY_ONE = (
    CoreRequest((0, 1), 2, exact=True),
    CoreRequest((0,), 1, exact=True),
    CoreRequest((0, 1), 1, exact=False),
)


@contextmanager
def owner(state: Path, cores: str) -> Iterator["subprocess.Popen[str]"]:
    environment = os.environ | {"PYTHONPATH": str(STAND_INS), "NEURON_EMULATOR_STATE": str(state)}
    with subprocess.Popen(
        [sys.executable, "-c", OWNER, cores], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline().startswith("(")
            yield process
        finally:
            process.kill()


def test_an_owned_core_is_refused_with_the_runtimes_line(tmp_path: Path) -> None:
    node = Node(tmp_path, {})

    with owner(tmp_path, "0-1"), pytest.raises(NrtError, match="Requested:nc0-nc1 Available:0") as raised:
        claim(node, BOTH, "late")

    assert "NRT:nrt_allocate_neuron_cores" in str(raised.value)
    assert raised.value.status == 1


def test_a_failed_claim_gives_back_what_it_got(tmp_path: Path) -> None:
    node = Node(tmp_path, {})
    with owner(tmp_path, "1"):
        with pytest.raises(NrtError, match="Available:1"):
            claim(node, BOTH, "greedy")

        assert claim(node, FIRST, "modest") == (0,)


def test_any_free_core_is_found(tmp_path: Path) -> None:
    with owner(tmp_path, "0"):
        assert claim(Node(tmp_path, {}), ANY_ONE, "flexible") == (1,)


def test_the_owner_is_known_while_it_lives(tmp_path: Path) -> None:
    node = Node(tmp_path, {})

    with owner(tmp_path, "1") as process:
        owned = owners(node)
        assert list(owned) == [1]
        assert owned[1]["pid"] == process.pid
        process.kill()
        process.wait()

    assert owners(node) == {}


@pytest.mark.parametrize("ending", [signal.SIGKILL, signal.SIGTERM])
def test_a_dead_owners_cores_are_free_at_once(tmp_path: Path, ending: signal.Signals) -> None:
    with owner(tmp_path, "0-1") as process:
        process.send_signal(ending)
        process.wait()

    assert claim(Node(tmp_path, {}), BOTH, "next") == (0, 1)


def test_with_the_fault_a_killed_owners_cores_stay_busy_for_a_while(tmp_path: Path) -> None:
    node = Node(tmp_path, {})
    with owner(tmp_path, "0-1") as process:
        process.kill()
        process.wait()

    with pytest.raises(NrtError, match="not available"):
        claim(node, BOTH, "next", linger_seconds=60)
    os.utime(node.core_file(0), (0, 0))  # as if it had died long ago
    os.utime(node.core_file(1), (0, 0))
    assert claim(node, BOTH, "next", linger_seconds=60) == (0, 1)


def test_with_the_fault_cores_given_back_in_order_are_free_at_once(tmp_path: Path) -> None:
    with owner(tmp_path, "0-1") as process:
        assert process.stdin is not None
        process.stdin.close()
        process.wait()

    assert claim(Node(tmp_path, {}), BOTH, "next", linger_seconds=60) == (0, 1)


def test_files_are_open_to_every_user_id(tmp_path: Path) -> None:
    previous = os.umask(0o077)
    try:
        node = Node(tmp_path / "state", {})
        node.describe("inf2.xlarge")
    finally:
        os.umask(previous)

    assert (tmp_path / "state").stat().st_mode & 0o7777 == 0o777, "no sticky bit: pods remove what dead ones left"
    assert node.core_file(1).stat().st_mode & 0o777 == 0o666
    assert (tmp_path / "state" / "node.json").stat().st_mode & 0o777 == 0o666


def test_an_unknown_instance_type_is_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"inf2\.6xlarge"):
        Node(tmp_path, {"NEURON_EMULATOR_INSTANCE_TYPE": "inf2.6xlarge"})
