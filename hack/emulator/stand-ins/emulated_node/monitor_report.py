"""neuron-monitor's report, built from what processes recorded. Pure: readings in, one JSON object out.

Counts are those of the period, not totals; `completed` counts executions, however many rows each had. Latencies are
null when nothing ran (AWS: "Neuron Monitor User Guide").
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from emulated_node.counters import ERRORS, STATUSES, LoadedProgram, Reading
from emulated_node.instances import InstanceFacts
from emulated_node.monitor_config import MonitorConfig

_PERCENTILES = {"p0": 0.0, "p1": 0.01, "p25": 0.25, "p50": 0.5, "p75": 0.75, "p99": 0.99, "p100": 1.0}
Json = dict[str, object]


@dataclass(frozen=True)
class HostUsage:
    """What the machine itself did in the period; shares are percentages."""

    processor_shares: Mapping[str, Mapping[str, float]]  # by CPU number; "average" for all
    context_switches: int
    memory_total_bytes: int
    memory_used_bytes: int
    swap_total_bytes: int
    swap_used_bytes: int
    process_shares: Mapping[int, tuple[float, float]]  # user and system, by pid
    process_bytes: Mapping[int, int]


@dataclass(frozen=True)
class Period:
    """Everything one report is about."""

    seconds: float
    processes: Sequence[Reading]  # already the differences since the last report
    host: HostUsage


def report(period: Period, config: MonitorConfig, facts: InstanceFacts) -> Json:
    runtimes = []
    for process in period.processes:
        matching = [entry.groups for entry in config.runtimes if entry.tag.search(process.tag)]
        if matching:
            wanted = [group for groups in matching for group in groups]
            runtimes.append(_runtime(process, wanted, period, facts))
    system = {group: _SYSTEM[group](period, facts) for group in config.system_groups}
    return {
        "neuron_runtime_data": runtimes,
        "system_data": system or None,
        "instance_info": _instance_info(facts),
        "neuron_hardware_info": _hardware_info(facts),
    }


def in_older_schema(made: Json) -> Json:
    """As tools of early 2023 wrote it: no FLOP/s, and two numbers for the hardware."""
    hardware = made["neuron_hardware_info"]
    assert isinstance(hardware, dict), "report() makes it an object"
    kept = {key: hardware[key] for key in ("neuron_device_count", "neuroncore_per_device_count", "error")}
    runtimes = made["neuron_runtime_data"]
    assert isinstance(runtimes, list), "report() makes it a list"
    for runtime in runtimes:
        for core in runtime["report"].get("neuroncore_counters", {}).get("neuroncores_in_use", {}).values():
            core.pop("effective_flops", None)
    return made | {"neuron_hardware_info": kept}


def without_metadata(made: Json) -> Json:
    """As where pods may not reach the instance metadata service."""
    info = made["instance_info"]
    assert isinstance(info, dict), "report() makes it an object"
    return made | {"instance_info": dict.fromkeys(info, "") | {"error": "instance metadata: request timed out"}}


def in_newer_schema(made: Json) -> Json:
    """As no version writes it: what an upgrade of the tools may do to whoever reads them."""
    runtimes = made["neuron_runtime_data"]
    assert isinstance(runtimes, list), "report() makes it a list"
    changed = []
    for runtime in runtimes:
        groups = {**runtime["report"], "power_stats": {"watts": 70}}
        groups["accelerator_counters"] = groups.pop("neuroncore_counters", None)
        if "memory_used" in groups:
            groups["memory_used"] = {"period": "1s", "neuron_runtime_used_bytes": "600 MB"}
        changed.append(runtime | {"report": groups, "numa_node": 0})
    return made | {"schema_version": 3, "neuron_runtime_data": changed}


def percentiles(values: Sequence[float]) -> dict[str, float] | None:
    if not values:
        return None
    ordered = sorted(values)
    return {name: ordered[round(share * (len(ordered) - 1))] for name, share in _PERCENTILES.items()}


def _runtime(process: Reading, groups: Sequence[str], period: Period, facts: InstanceFacts) -> Json:
    return {
        "pid": process.pid,
        "neuron_runtime_tag": process.tag,
        "error": "",
        "report": {group: _RUNTIME[group](process, period, facts) for group in groups},
    }


def _execution_stats(process: Reading, period: Period, _: InstanceFacts) -> Json:
    return {
        "period": period.seconds,
        "error_summary": {name: process.events[name] for name in ERRORS},
        "execution_summary": {name: process.events[name] for name in STATUSES},
        "latency_stats": {
            "total_latency": percentiles([total for total, _ in process.latencies]),
            "device_latency": percentiles([device for _, device in process.latencies]),
        },
        "error": "",
    }


def _core_counters(process: Reading, period: Period, _: InstanceFacts) -> Json:
    in_use: Json = {}
    for core, busy in sorted(process.busy_seconds.items()):
        # An idle core shows the integer 0, as seen in real reports.
        utilization: float = min(100.0, 100 * busy / period.seconds) if busy > 0 else 0
        rate = int(process.operations[core] / period.seconds)
        in_use[str(core)] = {"neuroncore_utilization": utilization, "effective_flops": rate}
    return {"period": period.seconds, "neuroncores_in_use": in_use, "error": ""}


def _memory_used(process: Reading, period: Period, facts: InstanceFacts) -> Json:
    # What a core holds is the program alone: its weights count as constants, the rest is not imitated.
    by_core = {
        str(core): _core_memory(sum(program.device_bytes for program in process.programs if core in program.cores))
        for core in sorted(process.busy_seconds)
    }
    host = period.host.process_bytes.get(process.pid, 0)
    return {
        "period": period.seconds,
        "neuron_runtime_used_bytes": {
            "host": host,
            "neuron_device": sum(program.device_bytes * len(program.cores) for program in process.programs),
            "usage_breakdown": {"host": _host_memory(host), "neuroncore_memory_usage": by_core},
        },
        "loaded_models": [_loaded_model(program, facts) for program in process.programs],
        "error": "",
    }


def _loaded_model(program: LoadedProgram, facts: InstanceFacts) -> Json:
    device = _core_memory(program.device_bytes)
    del device["model_shared_scratchpad"]
    memory = {
        "host": program.host_bytes,
        "neuron_device": program.device_bytes,
        "usage_breakdown": {"host": _host_memory(program.host_bytes), "neuron_device": device},
    }
    return {
        "name": program.name,
        "uuid": program.uuid,
        "model_id": program.model_id,
        "is_running": False,
        "subgraphs": {
            f"sg_{number:02}": {
                "memory_used_bytes": memory,
                "neuroncore_index": core % facts.cores_per_device,
                "neuron_device_index": core // facts.cores_per_device,
            }
            for number, core in enumerate(program.cores)
        },
    }


def _core_memory(constants: int) -> Json:
    return {
        "constants": constants,
        "model_code": 0,
        "model_shared_scratchpad": 0,
        "runtime_memory": 0,
        "tensors": 0,
    }


def _host_memory(application: int) -> Json:
    return {"application_memory": application, "constants": 0, "dma_buffers": 0, "tensors": 0}


def _process_vcpu(process: Reading, period: Period, _: InstanceFacts) -> Json:
    user, system = period.host.process_shares.get(process.pid, (0.0, 0.0))
    return {"period": period.seconds, "vcpu_usage": {"user": user, "system": system}, "error": ""}


def _system_vcpu(period: Period, _: InstanceFacts) -> Json:
    shares = dict(period.host.processor_shares)
    return {
        "period": period.seconds,
        "average_usage": shares.pop("average"),
        "usage_data": shares,
        "context_switch_count": period.host.context_switches,
        "error": "",
    }


def _memory_info(period: Period, _: InstanceFacts) -> Json:
    return {
        "period": period.seconds,
        "memory_total_bytes": period.host.memory_total_bytes,
        "memory_used_bytes": period.host.memory_used_bytes,
        "swap_total_bytes": period.host.swap_total_bytes,
        "swap_used_bytes": period.host.swap_used_bytes,
        "error": "",
    }


def _hardware_counters(period: Period, facts: InstanceFacts) -> Json:
    kinds = ("mem_ecc_corrected", "mem_ecc_uncorrected", "sram_ecc_uncorrected", "sram_ecc_corrected")
    devices = [{"neuron_device_index": number} | dict.fromkeys(kinds, 0) for number in range(facts.device_count)]
    return {"period": period.seconds, "neuron_devices": devices, "error": ""}


def _instance_info(facts: InstanceFacts) -> Json:
    # A real one asks the instance metadata service; here there is none, and the id says what this is.
    unknown = ("instance_availability_zone", "instance_availability_zone_id", "instance_region", "ami_id", "subnet_id")
    named: Json = {"instance_name": "", "instance_id": "i-emulated", "instance_type": facts.instance_type}
    return named | dict.fromkeys(unknown, "") | {"error": ""}


def _hardware_info(facts: InstanceFacts) -> Json:
    return {
        "neuron_device_type": facts.device_type,
        "neuron_device_version": facts.device_version,
        "neuroncore_version": facts.neuroncore_version,
        "neuron_device_count": facts.device_count,
        "neuron_device_memory_size": facts.device_memory_bytes,
        "neuroncore_per_device_count": facts.cores_per_device,
        "logical_neuroncore_config": 1,
        "error": "",
    }


_RUNTIME = {
    "execution_stats": _execution_stats,
    "memory_used": _memory_used,
    "neuron_runtime_vcpu_usage": _process_vcpu,
    "neuroncore_counters": _core_counters,
}
_SYSTEM = {"vcpu_usage": _system_vcpu, "memory_info": _memory_info, "neuron_hw_counters": _hardware_counters}
