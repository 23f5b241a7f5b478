"""neuron-monitor's lines: the documented one, and the ways in which they differ or break."""

from collections.abc import Mapping

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from neuron_runtime.monitor_report import FAMILIES, LONGEST_KEY, MOST_ENTRIES, Report, monitor_config, read_report

TAG = "ml/pod-1/tiny/nc0"
CONTENT: dict[str, object] = {
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
            "usage_breakdown": {
                "neuroncore_memory_usage": {
                    "0": {
                        "constants": 5,
                        "model_code": 1,
                        "model_shared_scratchpad": 2,
                        "runtime_memory": 3,
                        "tensors": 6,
                    }
                }
            },
        }
    },
    "neuron_runtime_vcpu_usage": {"vcpu_usage": {"user": 12.5, "system": 2.5}},
}
RUNTIME = {
    "pid": 7,
    "neuron_runtime_tag": TAG,
    "error": "",
    "report": CONTENT,
}
REPORT = {
    "neuron_runtime_data": [RUNTIME],
    "system_data": None,
    "instance_info": {"instance_name": "", "instance_id": "i-1", "instance_type": "inf2.xlarge", "error": ""},
    "neuron_hardware_info": {"neuron_device_count": 1, "neuroncore_per_device_count": 2, "error": ""},
}


MEMORY = "runtime.report.memory_used.neuron_runtime_used_bytes.usage_breakdown.neuroncore_memory_usage.*"


def keys_in(document: object) -> set[str]:
    if isinstance(document, dict):
        return set(document) | {key for value in document.values() for key in keys_in(value)}
    return {key for value in document for key in keys_in(value)} if isinstance(document, list) else set()


KEYS = keys_in(REPORT)


def reported(document: Mapping[str, object], prefix: str = "ml/pod-1/") -> Report:
    report = read_report(orjson.dumps(document), prefix, {"NODE_NAME": "node-a"})
    assert report is not None
    return report


def values(document: Mapping[str, object]) -> dict[tuple[str, str], float]:
    """(name, last label) → value."""
    return {(sample.family.scraped_name, sample.labels[-1]): sample.value for sample in reported(document).samples}


def with_report(**changed: object) -> Mapping[str, object]:
    runtime = RUNTIME | {"report": CONTENT | changed}
    return REPORT | {"neuron_runtime_data": [runtime]}


def test_a_documented_report() -> None:
    assert values(REPORT) == {
        ("neuron_hardware_info", "2"): 1,
        ("neuroncore_utilization_ratio", "0"): 0.895,
        ("neuron_runtime_memory_used_bytes", "host"): 100,
        ("neuron_runtime_memory_used_bytes", "neuron_device"): 200,
        # The official exporter labels both with memory_location="None".
        ("neuroncore_memory_usage_constants", "None"): 5,
        ("neuroncore_memory_usage_model_code", "None"): 1,
        ("neuroncore_memory_usage_model_shared_scratchpad", "None"): 2,
        ("neuroncore_memory_usage_runtime_memory", "None"): 3,
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
    sample = next(s for s in reported(REPORT).samples if s.family.name == "neuroncore_utilization_ratio")
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
    report = reported(REPORT, "ml/other-pod/")

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


@pytest.mark.parametrize(
    "line", [b"", b"neuron-monitor: starting", b'{"neuron_runtime_da', b"[]", b"3", b'{"a": 1}', b"\xff", b"[" * 5000]
)
def test_lines_that_are_no_report(line: bytes) -> None:
    assert read_report(line, "", {}) is None


def test_the_documented_report_differs_in_nothing() -> None:
    assert reported(REPORT).differences == frozenset()


@pytest.mark.parametrize(
    ("document", "missing"),
    [
        pytest.param(REPORT | {"neuron_runtime_data": None}, set(), id="nothing-runs"),
        pytest.param(REPORT | {"neuron_runtime_data": []}, set(), id="empty"),
        pytest.param(REPORT | {"neuron_runtime_data": {}}, {"neuron_runtime_data"}, id="no-list"),
        pytest.param({"instance_info": {}}, {"neuron_runtime_data", "neuron_hardware_info"}, id="almost-nothing"),
        pytest.param(REPORT | {"instance_info": None}, {"instance_info"}, id="no-instance"),
        pytest.param(REPORT | {"neuron_runtime_data": [5]}, {"runtime"}, id="a-runtime-that-is-none"),
        pytest.param(
            REPORT | {"neuron_hardware_info": {"neuron_device_count": "1"}},
            {"neuron_hardware_info.neuron_device_count", "neuron_hardware_info.neuroncore_per_device_count"},
            id="hardware-of-another-type",
        ),
        pytest.param(
            with_report(neuroncore_counters=None), {"runtime.report.neuroncore_counters"}, id="a-group-that-is-null"
        ),
        pytest.param(
            with_report(execution_stats={"error_summary": {"generic": True}, "execution_summary": {}}),
            {"runtime.report.execution_stats.error_summary.*", "runtime.report.execution_stats.latency_stats"},
            id="no-number",
        ),
        pytest.param(
            with_report(
                memory_used={
                    "neuron_runtime_used_bytes": {
                        "host": 1,
                        "neuron_device": 2,
                        "usage_breakdown": {"neuroncore_memory_usage": {"0": {"constants": 5}, "1": {"constants": 5}}},
                    }
                }
            ),
            {f"{MEMORY}.{key}" for key in ("model_code", "model_shared_scratchpad", "runtime_memory", "tensors")},
            id="an-older-memory-breakdown",
        ),
    ],
)
def test_what_is_missing_is_named_once_and_not_what_would_lie_in_it(
    document: Mapping[str, object], missing: set[str]
) -> None:
    assert reported(document).differences == missing


def test_new_keys_and_null_latencies_are_no_differences() -> None:
    stats = {
        "error_summary": {"generic": 0, "cosmic": 1},
        "execution_summary": {"completed": 0},
        "latency_stats": {"total_latency": None, "device_latency": None, "host_latency": {}},
        "queue_stats": {},
    }
    report = reported({**with_report(execution_stats=stats, power={"watts": 70}), "k8s_info": {}})

    assert report.differences == frozenset()
    assert ("execution_errors_total", "cosmic") in values(with_report(execution_stats=stats))


def test_a_neighbors_odd_report_is_not_our_difference() -> None:
    neighbor = {"neuron_runtime_tag": "ml/other/x", "report": None}

    assert reported(REPORT | {"neuron_runtime_data": [RUNTIME, neighbor]}).differences == frozenset()


def test_counters_never_fall() -> None:
    stats = {"execution_summary": {"completed": -3}, "error_summary": {}, "latency_stats": {}}

    assert ("execution_status_total", "completed") not in values(with_report(execution_stats=stats))


def test_no_report_fills_memory() -> None:
    stats = {
        "execution_summary": {f"kind-{number}": 1 for number in range(10_000)},
        "error_summary": {"x" * (LONGEST_KEY + 1): 1},
    }
    names = [name for name, _ in values(with_report(execution_stats=stats))]

    assert names.count("execution_status_total") == MOST_ENTRIES
    assert names.count("execution_errors_total") == 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(sorted(KEYS)), inner, max_size=6),
    max_leaves=40,
)


@given(JSON)
def test_no_json_raises(document: object) -> None:
    read_report(orjson.dumps(document), "", {})


@given(JSON)
def test_no_content_of_a_report_raises(document: object) -> None:
    runtime = {"neuron_runtime_tag": "us", "report": document}
    read_report(orjson.dumps({"neuron_runtime_data": [runtime, document], "instance_info": document}), "", {})


def test_the_configuration_asks_for_our_own_runtimes_only() -> None:
    config = orjson.loads(monitor_config("^ml/pod-1/", "1s"))

    assert config["system_metrics"] == []
    assert config["neuron_runtimes"][0]["tag_filter"] == "^ml/pod-1/"


def test_families_have_help_and_the_official_labels() -> None:
    assert all(family.help.endswith(".") for family in FAMILIES)
    assert {family.labels[0] for family in FAMILIES} == {"instance_name", "reason"}
