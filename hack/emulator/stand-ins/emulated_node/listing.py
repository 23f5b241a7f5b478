"""The neuron-ls stand-in: the node's devices and who owns their cores, as JSON. Started by bin/neuron-ls.

`-j` / `--json-output` prints the array of old; `--output-format json` the object that replaces it from SDK 2.34 on,
of which only its top-level fields' existence is announced: their names here are our guess.
"""

import argparse
import json
import sys
from collections.abc import Sequence

from emulated_node.claims import owners, pid_namespace
from emulated_node.counters import read_processes
from emulated_node.node import Node

_RUNTIME_VERSION = "emulated"


def devices(node: Node) -> list[dict[str, object]]:
    facts = node.facts
    commands = {(reading.pid_namespace, reading.pid): reading.command for reading in read_processes(node)}
    owned = owners(node)
    found: list[dict[str, object]] = []
    for device in range(facts.device_count):
        cores = range(device * facts.cores_per_device, (device + 1) * facts.cores_per_device)
        holders = {
            int(str(owned[core]["pid"])): commands.get(
                (int(str(owned[core]["pid_namespace"])), int(str(owned[core]["pid"]))), ""
            )
            for core in cores
            if owned.get(core)
        }
        found.append(
            {
                "neuron_device": device,
                "bdf": f"00:{0x1E - device:02x}.0",
                "cpu_affinity": "",
                "numa_node": "0",
                "connected_to": _ring(device, facts.device_count),
                "nc_count": facts.cores_per_device,
                "logical_neuroncore_config": 1,
                "memory_size": facts.device_memory_bytes,
                "neuroncore_ids": list(cores),
                "neuron_processes": [
                    {"pid": pid, "command": command, "neuron_runtime_version": _RUNTIME_VERSION}
                    for pid, command in sorted(holders.items())
                ],
            }
        )
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="neuron-ls", description="EMULATED neuron-ls; see docs/fidelity.md")
    parser.add_argument("-j", "--json-output", action="store_true")
    parser.add_argument("--output-format", choices=("json", "table"))
    options = parser.parse_args(arguments)
    node = Node.from_environment()
    found = devices(node)
    if options.output_format == "json":
        print(json.dumps({"instance_type": node.facts.instance_type, "neuron_devices": found}, indent=4))
    elif options.json_output:
        print(json.dumps(found, indent=4))
    else:
        print(f"EMULATED {node.facts.instance_type}, seen from process namespace {pid_namespace()}")
        for device in found:
            print(f"device {device['neuron_device']}: cores {device['neuroncore_ids']}, {device['neuron_processes']}")
    return 0


def _ring(device: int, count: int) -> list[int]:
    """Inf2 devices are linked in a ring; a lone one to nothing."""
    return sorted({(device - 1) % count, (device + 1) % count} - {device})


if __name__ == "__main__":
    sys.exit(main())
