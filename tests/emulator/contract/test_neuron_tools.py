"""neuron-monitor and neuron-ls against what AWS documents and what real ones were seen to print.

Sources: "Neuron Monitor User Guide", "Neuron LS User Guide". The tools are found on PATH or in /opt/aws/neuron/bin
where they are real; else the stand-ins are run.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.integration, pytest.mark.timeout(600)]  # silicon has to compile

HERE = Path(__file__).parent
Environment = dict[str, str]
RunTool = Callable[..., "subprocess.CompletedProcess[str]"]

EVERYTHING = {
    "period": "1s",
    "neuron_runtimes": [
        {
            "tag_filter": "^contract-test$",
            "metrics": [
                {"type": "neuroncore_counters"},
                {"type": "memory_used"},
                {"type": "neuron_runtime_vcpu_usage"},
                {"type": "execution_stats"},
            ],
        }
    ],
    "system_metrics": [{"type": "vcpu_usage"}, {"type": "memory_info"}, {"type": "neuron_hw_counters"}],
}
# Executes in batches of 8 when told how often, so that executions and rows differ.
WORKER = """
import sys, torch, torch_neuronx
model = torch_neuronx.trace(torch.nn.Linear(16, 16), torch.ones(8, 16))
model(torch.ones(8, 16))
print("loaded", flush=True)
for line in sys.stdin:
    for _ in range(int(line)):
        model(torch.ones(8, 16))
    print("done", flush=True)
"""


def tool(name: str) -> str:
    real = shutil.which(name, path=f"/opt/aws/neuron/bin:{os.environ.get('PATH', '')}")
    return real or str(HERE.parents[2] / "hack" / "emulator" / "bin" / name)


@contextmanager
def monitor(config: dict[str, Any], tmp_path: Path, environment: Environment) -> Iterator[Callable[[], Any]]:
    """A running neuron-monitor; calling the value gives its next report."""
    path = tmp_path / "monitor.conf"
    path.write_text(json.dumps(config))
    with subprocess.Popen(
        [tool("neuron-monitor"), "-c", str(path)], env=environment, text=True, stdout=subprocess.PIPE
    ) as process:

        def next_report() -> Any:
            assert process.stdout is not None
            return json.loads(process.stdout.readline())

        try:
            yield next_report
        finally:
            process.kill()


@contextmanager
def worker(environment: Environment) -> Iterator[Callable[[int], None]]:
    """A process that has loaded a model; calling the value executes it so often."""
    with subprocess.Popen(
        [sys.executable, "-c", WORKER], env=environment, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        stdin, stdout = process.stdin, process.stdout

        def execute(times: int) -> None:
            stdin.write(f"{times}\n")
            stdin.flush()
            assert stdout.readline() == "done\n"

        try:
            assert stdout.readline() == "loaded\n"
            yield execute
        finally:
            process.kill()


def differences(found: Any, documented: Any, path: str = "") -> list[str]:
    """Keys and types in which a report departs from the documented one."""
    if isinstance(documented, dict):
        if not isinstance(found, dict):
            return [f"{path}: {found!r} is no object"]
        if "*" in documented:
            return [line for key in found for line in differences(found[key], documented["*"], f"{path}.{key}")]
        keys = {key for key in documented if key != "//"}
        lines = [f"{path}: missing {sorted(keys - found.keys())}"] if keys - found.keys() else []
        return lines + [
            line for key in keys & found.keys() for line in differences(found[key], documented[key], f"{path}.{key}")
        ]
    if isinstance(documented, list):
        return [line for item in found for line in differences(item, documented[0], f"{path}[]")]
    allowed = (int, float) if isinstance(documented, float) else type(documented)
    return [] if isinstance(found, allowed) else [f"{path}: {found!r} is no {type(documented).__name__}"]


def runtime_of(report: Any) -> Any:
    (runtime,) = report["neuron_runtime_data"]
    return runtime


def completed(report: Any) -> int:
    return int(runtime_of(report)["report"]["execution_stats"]["execution_summary"]["completed"])


def test_a_report_has_every_documented_key_with_its_type(tmp_path: Path, node_env: Environment) -> None:
    documented = json.loads((HERE / "neuron_monitor_report.json").read_text())
    environment = node_env | {"NEURON_PROCESS_TAG": "contract-test"}

    with worker(environment) as execute, monitor(EVERYTHING, tmp_path, environment) as next_report:
        next_report()
        execute(20)
        report = next(report for report in iter(next_report, None) if completed(report))

    assert differences(report, documented) == []


def test_completed_counts_executions_of_the_period_and_not_rows(tmp_path: Path, node_env: Environment) -> None:
    environment = node_env | {"NEURON_PROCESS_TAG": "contract-test"}

    with worker(environment) as execute, monitor(EVERYTHING, tmp_path, environment) as next_report:
        next_report()
        execute(100)
        # The hundred may straddle two periods; the third is quiet.
        counts = [completed(next_report()) for _ in range(2)]
        quiet = next_report()

    assert sum(counts) == 100
    assert completed(quiet) == 0
    latencies = runtime_of(quiet)["report"]["execution_stats"]["latency_stats"]
    assert latencies == {"total_latency": None, "device_latency": None}


def test_a_process_is_named_by_its_tag_else_by_its_pid(tmp_path: Path, node_env: Environment) -> None:
    config = EVERYTHING | {"neuron_runtimes": [{"metrics": [{"type": "execution_stats"}]}]}

    with worker(node_env), monitor(config, tmp_path, node_env) as next_report:
        runtime = runtime_of(next_report())

    assert runtime["neuron_runtime_tag"] == str(runtime["pid"])


def test_the_filter_leaves_other_processes_out(tmp_path: Path, node_env: Environment) -> None:
    with (
        worker(node_env | {"NEURON_PROCESS_TAG": "somebody-else"}),
        monitor(EVERYTHING, tmp_path, node_env) as next_report,
    ):
        assert not next_report()["neuron_runtime_data"]


def test_groups_that_were_not_asked_for_are_absent(tmp_path: Path, node_env: Environment) -> None:
    config = {
        "period": "1s",
        "neuron_runtimes": [{"tag_filter": "contract-test", "metrics": [{"type": "execution_stats"}]}],
        "system_metrics": [],
    }
    environment = node_env | {"NEURON_PROCESS_TAG": "contract-test"}

    with worker(environment), monitor(config, tmp_path, environment) as next_report:
        report = next_report()

    assert set(runtime_of(report)["report"]) == {"execution_stats"}
    assert not report["system_data"]


def test_neuron_ls_lists_devices_and_the_processes_on_them(node_env: Environment) -> None:
    with worker(node_env | {"NEURON_RT_VISIBLE_CORES": "1"}):
        listed = subprocess.run([tool("neuron-ls"), "-j"], env=node_env, capture_output=True, text=True, check=True)

    (device, *_) = json.loads(listed.stdout)
    assert device["neuron_device"] == 0
    assert device["nc_count"] == 2
    assert device["memory_size"] == 34359738368
    (process,) = device["neuron_processes"]
    assert isinstance(process["pid"], int)
    assert "python" in process["command"]
