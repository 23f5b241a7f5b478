"""The neuron-monitor stand-in's own ways: configuration, percentiles, and the modes that misbehave."""

import json
import os
import subprocess
from pathlib import Path

import pytest

from emulated_node.counters import CounterFile, Execution
from emulated_node.monitor import ENORMOUS_BYTES
from emulated_node.monitor_config import EVERYTHING, parse_config, parse_duration
from emulated_node.monitor_report import percentiles
from emulated_node.node import Node
from emulator.faults import main, set_monitor_mode

NEURON_MONITOR = Path(__file__).parents[2] / "hack" / "emulator" / "bin" / "neuron-monitor"
CONFIG: dict[str, object] = {"period": "100ms", "neuron_runtimes": [{"metrics": [{"type": "neuroncore_counters"}]}]}


@pytest.fixture
def state(tmp_path: Path) -> Path:
    return tmp_path / "state"


def environment(state: Path, mode: str) -> dict[str, str]:
    return os.environ | {"NEURON_EMULATOR_STATE": str(state), "NEURON_EMULATOR_MONITOR": mode}


def command(state: Path, config: dict[str, object] = CONFIG) -> list[str]:
    path = state.parent / "monitor.conf"
    path.write_text(json.dumps(config))
    return [str(NEURON_MONITOR), "-c", str(path)]


def lines_of(state: Path, count: int, mode: str, config: dict[str, object] = CONFIG) -> list[str]:
    """The first lines that neuron-monitor writes in a mode."""
    with subprocess.Popen(
        command(state, config), env=environment(state, mode), text=True, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        lines = [process.stdout.readline().rstrip("\n") for _ in range(count)]
        process.kill()
    return lines


@pytest.fixture
def neighbor(state: Path) -> CounterFile:
    """A process of another pod: the same files, another process namespace."""
    node = Node(state, {})
    counters = CounterFile(node, "neighbor", (1,))
    (description,) = (node.directory / "processes").glob("*.json")
    description.write_text(json.dumps(json.loads(description.read_text()) | {"pid_namespace": 1}))
    counters.record(Execution(1, 0.001, 0.001))
    return counters


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("1s", 1.0), ("500ms", 0.5), ("1m30s", 90.0), ("1.5s", 1.5), ("2h", 7200.0)],
)
def test_periods_are_go_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "1", "s", "1 s", "1x", "-1s"])
def test_other_periods_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="period"):
        parse_duration(text)


def test_the_default_is_every_group_every_five_seconds() -> None:
    assert parse_config({}).period_seconds == EVERYTHING.period_seconds == 5.0
    assert len(EVERYTHING.runtimes[0].groups) == 4
    assert len(EVERYTHING.system_groups) == 3


def test_an_unknown_group_is_refused() -> None:
    with pytest.raises(ValueError, match="inference_stats"):
        parse_config({"neuron_runtimes": [{"metrics": [{"type": "inference_stats"}]}]})


def test_percentiles_of_a_hundred() -> None:
    found = percentiles([float(value) for value in range(101)])

    assert found == {"p0": 0.0, "p1": 1.0, "p25": 25.0, "p50": 50.0, "p75": 75.0, "p99": 99.0, "p100": 100.0}
    assert percentiles([]) is None
    assert set((percentiles([7.0]) or {}).values()) == {7.0}


@pytest.mark.integration
@pytest.mark.usefixtures("neighbor")
def test_the_neighbors_are_shown_only_in_their_mode(state: Path) -> None:
    (own,) = lines_of(state, 1, "own")
    (all_of_them,) = lines_of(state, 1, "neighbors")

    assert json.loads(own)["neuron_runtime_data"] == []
    assert [runtime["neuron_runtime_tag"] for runtime in json.loads(all_of_them)["neuron_runtime_data"]] == ["neighbor"]


@pytest.mark.integration
@pytest.mark.usefixtures("neighbor")
def test_garbage_has_good_lines_between_bad_ones(state: Path) -> None:
    lines = lines_of(state, 5, "garbage")

    whole = [line for line in lines if line.startswith("{") and line.endswith("}")]
    assert len(whole) == 1
    assert json.loads(whole[0])
    assert any(line.startswith("{") and not line.endswith("}") for line in lines), "half a report"


@pytest.mark.integration
def test_the_older_schema_lacks_what_came_later(state: Path) -> None:
    node = Node(state, {})
    CounterFile(node, "own", (0,))
    (line,) = lines_of(state, 1, "older-schema")

    report = json.loads(line)
    (runtime,) = report["neuron_runtime_data"]
    assert runtime["report"]["neuroncore_counters"]["neuroncores_in_use"] == {"0": {"neuroncore_utilization": 0}}
    assert set(report["neuron_hardware_info"]) == {"neuron_device_count", "neuroncore_per_device_count", "error"}


@pytest.mark.integration
def test_the_newer_schema_has_other_names_types_and_keys(state: Path) -> None:
    CounterFile(Node(state, {}), "own", (0,))
    config: dict[str, object] = {
        "period": "100ms",
        "neuron_runtimes": [{"metrics": [{"type": "neuroncore_counters"}, {"type": "memory_used"}]}],
    }
    (line,) = lines_of(state, 1, "newer-schema", config)

    (runtime,) = json.loads(line)["neuron_runtime_data"]
    assert set(runtime["report"]) == {"accelerator_counters", "memory_used", "power_stats"}
    assert isinstance(runtime["report"]["memory_used"]["neuron_runtime_used_bytes"], str)


@pytest.mark.integration
@pytest.mark.usefixtures("neighbor")
def test_the_blind_one_reports_no_process_at_all(state: Path) -> None:
    CounterFile(Node(state, {}), "own", (0,))
    (line,) = lines_of(state, 1, "blind")

    assert json.loads(line)["neuron_runtime_data"] is None


@pytest.mark.integration
def test_nonsense_has_no_good_line(state: Path) -> None:
    assert not [line for line in lines_of(state, 25, "nonsense") if line.startswith("{")]


@pytest.mark.integration
def test_the_enormous_line_is_followed_by_a_good_one(state: Path) -> None:
    enormous, good = lines_of(state, 2, "enormous")

    assert len(enormous) == ENORMOUS_BYTES
    assert json.loads(good)


@pytest.mark.integration
def test_the_dying_one_leaves_half_a_line_and_a_word(state: Path) -> None:
    ended = subprocess.run(command(state), env=environment(state, "dying"), capture_output=True, text=True, check=False)

    assert ended.returncode == 2
    assert ended.stdout.startswith("{")
    assert not ended.stdout.endswith(("}", "\n"))
    assert "device gone" in ended.stderr


@pytest.mark.integration
def test_the_hanging_one_is_stopped_in_the_middle_of_a_line(state: Path) -> None:
    with subprocess.Popen(command(state), env=environment(state, "hanging"), stdout=subprocess.PIPE) as process:
        _, status = os.waitpid(process.pid, os.WUNTRACED)
        process.kill()

    assert os.WIFSTOPPED(status)


@pytest.mark.integration
def test_the_mode_is_changed_while_it_runs(state: Path) -> None:
    Node(state, {})
    set_monitor_mode(state, "blind")
    variables = environment(state, "")
    with subprocess.Popen(command(state), env=variables, text=True, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        blind = json.loads(process.stdout.readline())
        assert main([str(state), "monitor", "own"]) == 0
        seen = [json.loads(process.stdout.readline())["neuron_runtime_data"] for _ in range(2)]
        process.kill()

    assert blind["neuron_runtime_data"] is None
    assert seen[-1] == []


def test_a_mode_that_does_not_exist_is_refused(state: Path) -> None:
    with pytest.raises(ValueError, match="sleepy"):
        set_monitor_mode(state, "sleepy")


@pytest.mark.integration
def test_silence_is_silent(state: Path) -> None:
    variables = environment(state, "silent")

    with pytest.raises(subprocess.TimeoutExpired) as stopped:
        subprocess.run(command(state), env=variables, capture_output=True, timeout=0.8, check=False)

    assert not stopped.value.stdout


@pytest.mark.integration
def test_a_broken_configuration_ends_it_with_a_reason(state: Path) -> None:
    config = state.parent / "monitor.conf"
    config.write_text('{"period": "fast"}')

    ended = subprocess.run([NEURON_MONITOR, "-c", config], capture_output=True, text=True, check=False)

    assert ended.returncode == 1
    assert "'fast' is no duration" in ended.stderr
