"""neuron-monitor's lines: the documented one, and the ways in which they differ or break."""

from collections.abc import Mapping

import orjson
import pytest

from neuron_runtime.monitor_report import FAMILIES, monitor_config, read_report

TAG = "ml/pod-1/tiny/nc0"
RUNTIME = {
    "pid": 7,
    "neuron_runtime_tag": TAG,
    "error": "",
    "report": {
        "neuroncore_counters": {
            "period": 1.0,
            "neuroncores_in_use": {"0": {"neuroncore_utilization": 89.5, "effective_flops": 876000000000}},
            "error": "",
        },
        "execution_stats": {
            "error_summary": {"generic": 1, "numerical": 0},
            "execution_summary": {"completed": 816, "timed_out": 2},
            "latency_stats": {"total_latency": {"p0": 0.001, "p99": 0.0012}, "device_latency": None},
        },
        "memory_used": {
            "neuron_runtime_used_bytes": {
                "host": 100,
                "neuron_device": 200,
                "usage_breakdown": {"neuroncore_memory_usage": {"0": {"constants": 5, "tensors": 6}}},
            }
        },
        "neuron_runtime_vcpu_usage": {"vcpu_usage": {"user": 12.5, "system": 2.5}},
    },
}
REPORT = {
    "neuron_runtime_data": [RUNTIME],
    "system_data": None,
    "instance_info": {"instance_name": "", "instance_id": "i-1", "instance_type": "inf2.xlarge", "error": ""},
    "neuron_hardware_info": {"neuron_device_count": 1, "neuroncore_per_device_count": 2, "error": ""},
}


def values(document: Mapping[str, object]) -> dict[tuple[str, str], float]:
    """(name, last label) → value."""
    report = read_report(orjson.dumps(document), "ml/pod-1/", "node-a")
    assert report is not None
    return {(sample.family.scraped_name, sample.labels[-1]): sample.value for sample in report.samples}


def test_a_documented_report() -> None:
    assert values(REPORT) == {
        ("neuron_hardware_info", "2"): 1,
        ("neuroncore_utilization_ratio", "0"): 0.895,
        ("neuron_runtime_memory_used_bytes", "host"): 100,
        ("neuron_runtime_memory_used_bytes", "neuron_device"): 200,
        # The official exporter labels both with memory_location="None".
        ("neuroncore_memory_usage_constants", "None"): 5,
        ("neuroncore_memory_usage_tensors", "None"): 6,
        ("neuron_runtime_vcpu_usage_ratio", "user"): 0.125,
        ("neuron_runtime_vcpu_usage_ratio", "system"): 0.025,
        ("execution_errors_total", "generic"): 1,
        ("execution_errors_total", "numerical"): 0,
        ("execution_status_total", "completed"): 816,
        ("execution_status_total", "timed_out"): 2,
        ("execution_latency_seconds", "p0"): 0.001,
        ("execution_latency_seconds", "p99"): 0.0012,
    }


def test_labels_fall_back_to_the_nodes_name() -> None:
    report = read_report(orjson.dumps(REPORT), "ml/pod-1/", "node-a")
    assert report is not None

    sample = next(s for s in report.samples if s.family.name == "neuroncore_utilization_ratio")
    assert dict(zip(sample.family.labels, sample.labels, strict=True)) == {
        "instance_name": "node-a",
        "instance_id": "i-1",
        "instance_type": "inf2.xlarge",
        "availability_zone": "",
        "region": "",
        "subnet_id": "",
        "runtime_tag": TAG,
        "neuroncore": "0",
    }


def test_neighbors_are_left_out() -> None:
    report = read_report(orjson.dumps(REPORT), "ml/other-pod/", "")
    assert report is not None

    assert report.tags == frozenset()
    assert {sample.family.name for sample in report.samples} == {"neuron_hardware"}


@pytest.mark.parametrize(
    "changed",
    [
        {"report": {}},
        {"report": None},
        {"report": {"neuroncore_counters": None, "execution_stats": {"latency_stats": {"total_latency": None}}}},
        {"report": {"neuroncore_counters": {"neuroncores_in_use": {"0": {"neuroncore_utilization": "n/a"}}}}},
        {"report": {"memory_used": {"neuron_runtime_used_bytes": [1]}}},
    ],
)
def test_missing_or_changed_keys_leave_the_rest(changed: dict[str, object]) -> None:
    assert values(REPORT | {"neuron_runtime_data": [RUNTIME | changed, 5, None]}) == {("neuron_hardware_info", "2"): 1}


@pytest.mark.parametrize("line", [b"", b"neuron-monitor: starting", b'{"neuron_runtime_da', b"[]", b"3", b'{"a": 1}'])
def test_lines_that_are_no_report(line: bytes) -> None:
    assert read_report(line, "", "") is None


def test_the_configuration_asks_for_our_own_runtimes_only() -> None:
    config = orjson.loads(monitor_config("^ml/pod-1/", "1s"))

    assert config["system_metrics"] == []
    assert config["neuron_runtimes"][0]["tag_filter"] == "^ml/pod-1/"


def test_families_have_help_and_the_official_labels() -> None:
    assert all(family.help.endswith(".") for family in FAMILIES)
    assert {family.labels[0] for family in FAMILIES} == {"instance_name", "reason"}
