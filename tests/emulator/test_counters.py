"""What a process records and what a reader finds."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from emulated_node.counters import RING_CAPACITY, CounterFile, Execution, LoadedProgram, read_processes, remove_dead
from emulated_node.node import Node

STAND_INS = Path(__file__).parents[2] / "hack" / "emulator" / "stand-ins"
DONE = Execution(core=1, device_seconds=0.002, total_seconds=0.003, operations=100.0)
PROGRAM = LoadedProgram("Bert", "ab" * 16, 10001, (0, 1), 5000, 5000)


@pytest.fixture
def node(tmp_path: Path) -> Node:
    return Node(tmp_path, {})


def test_executions_are_read_as_they_were_recorded(node: Node) -> None:
    written = CounterFile(node, "mine", (0, 1))
    written.loaded(PROGRAM)
    written.record(DONE)
    written.record(replace(DONE, core=0))
    written.record(replace(DONE, status="completed_with_num_err", error="numerical"))

    (reading,) = read_processes(node)

    assert (reading.tag, reading.programs) == ("mine", (PROGRAM,))
    assert reading.busy_seconds == {0: pytest.approx(0.002), 1: pytest.approx(0.004)}
    assert reading.operations == {0: 100.0, 1: 200.0}
    assert {name: count for name, count in reading.events.items() if count} == {
        "completed": 2,
        "completed_with_num_err": 1,
        "numerical": 1,
    }
    assert reading.latencies == ((0.003, 0.002), (0.003, 0.002))


def test_what_happened_since_is_the_difference(node: Node) -> None:
    written = CounterFile(node, "mine", (1,))
    written.record(DONE)
    (earlier,) = read_processes(node)
    written.record(replace(DONE, total_seconds=0.5))
    (now,) = read_processes(node)

    since = now.since(earlier)

    assert since.events["completed"] == 1
    assert since.busy_seconds == {1: pytest.approx(0.002)}
    assert since.latencies == ((0.5, 0.002),)
    assert now.since(now).latencies == ()
    assert now.since(None) is now


def test_latencies_beyond_the_rings_capacity_keep_the_newest(node: Node) -> None:
    written = CounterFile(node, "mine", (1,))
    for number in range(RING_CAPACITY + 3):
        written.record(replace(DONE, total_seconds=float(number)))

    (reading,) = read_processes(node)

    assert reading.events["completed"] == RING_CAPACITY + 3
    assert len(reading.latencies) == RING_CAPACITY
    assert (reading.latencies[0][0], reading.latencies[-1][0]) == (3.0, RING_CAPACITY + 2.0)


def test_an_unloaded_program_is_no_longer_listed(node: Node) -> None:
    written = CounterFile(node, "mine", (0, 1))
    written.loaded(PROGRAM)

    written.unloaded(PROGRAM.model_id)

    (reading,) = read_processes(node)
    assert reading.programs == ()


@pytest.mark.integration
def test_dead_processes_are_not_read_and_their_files_removed(node: Node) -> None:
    script = (
        "from emulated_node.counters import CounterFile\nfrom emulated_node.node import Node\n"
        "CounterFile(Node.from_environment(), 'dead', (0,))"
    )
    environment = {"PYTHONPATH": str(STAND_INS), "NEURON_EMULATOR_STATE": str(node.directory)}
    subprocess.run([sys.executable, "-c", script], env=environment, check=True)
    assert len(list((node.directory / "processes").iterdir())) == 2

    assert list(read_processes(node)) == []
    remove_dead(node)

    assert list((node.directory / "processes").iterdir()) == []
