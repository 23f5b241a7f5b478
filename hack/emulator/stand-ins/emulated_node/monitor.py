"""The neuron-monitor stand-in: one report per period on standard output, for ever. Started by bin/neuron-monitor.

By default it shows the processes of its own pod; $NEURON_EMULATOR_MONITOR or `monitor.json` in the node's directory
({"mode": MODE}) makes it misbehave in ways that consumers have to survive; it is looked up at each report:
  neighbors     the other pods' processes too (the driver's counters belong to the device)
  blind         reports that show no process, as if privileges were missing
  silent        no report at all, but alive
  hanging       not even alive: stopped in the middle of a line
  dying         half a line, a word on standard error, exit code 2
  garbage       lines that are no JSON, and half lines, between good ones
  nonsense      nothing but lines that are no report
  enormous      a line of 8 MiB before each good one
  older-schema  the keys of an early version
  no-metadata   nothing about the instance, as where instance metadata is closed to pods
  newer-schema  some keys renamed, some of another type, some new
"""

import argparse
import json
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from emulated_node.claims import pid_namespace
from emulated_node.counters import Reading, read_processes
from emulated_node.host_usage import HostTotals, read_totals, usage_between
from emulated_node.monitor_config import EVERYTHING, MonitorConfig, parse_config
from emulated_node.monitor_report import Json, Period, in_newer_schema, in_older_schema, report, without_metadata
from emulated_node.node import Node, read_json

MODES = (
    "own",
    "neighbors",
    "blind",
    "silent",
    "hanging",
    "dying",
    "garbage",
    "nonsense",
    "enormous",
    "older-schema",
    "newer-schema",
    "no-metadata",
)
ENORMOUS_BYTES = 8 * 2**20
MODE_VARIABLE = "NEURON_EMULATOR_MONITOR"
MODE_FILE = "monitor.json"


class Monitor:
    """The totals of the last look, from which each report takes differences."""

    def __init__(self, node: Node, config: MonitorConfig) -> None:
        self._node, self._config = node, config
        self._processes: dict[str, Reading] = {}
        self._host: HostTotals | None = None
        self._looked = 0.0

    def look(self, *, with_neighbors: bool) -> Json | None:
        """The report since the last look; None the first time."""
        now = time.monotonic()
        own = pid_namespace()
        readings = [reading for reading in read_processes(self._node) if with_neighbors or reading.pid_namespace == own]
        host = read_totals(reading.pid for reading in readings if reading.pid_namespace == own)
        made = None
        if self._host is not None:
            seconds = now - self._looked
            fresh = [reading.since(self._processes.get(reading.process_id)) for reading in readings]
            period = Period(seconds, fresh, usage_between(self._host, host, seconds))
            made = report(period, self._config, self._node.facts)
        self._processes = {reading.process_id: reading for reading in readings}
        self._host, self._looked = host, now
        return made


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="neuron-monitor", description="EMULATED neuron-monitor; see docs/fidelity.md")
    parser.add_argument("-c", "--config-file", type=Path)
    parser.add_argument("--verbose", type=int, choices=range(5), default=0)
    options = parser.parse_args(arguments)
    try:
        config = parse_config(json.loads(options.config_file.read_text())) if options.config_file else EVERYTHING
    except (OSError, ValueError) as error:
        print(f"neuron-monitor (emulated): {error}", file=sys.stderr)
        return 1
    node = Node.from_environment()
    monitor = Monitor(node, config)
    # A process that started before the monitor is reported from now on, not from its own beginning.
    monitor.look(with_neighbors=True)
    due = time.monotonic()
    while True:
        due += config.period_seconds
        time.sleep(max(0.0, due - time.monotonic()))
        mode = _mode(node)
        made = monitor.look(with_neighbors=mode == "neighbors")
        assert made is not None, "the first look was before the loop"
        try:
            for line in _lines(mode, made):
                print(line, flush=True)
            if mode in ("hanging", "dying"):
                return _end(mode, made)
        except BrokenPipeError:  # whoever read us has gone
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0


def _mode(node: Node) -> str:
    mode = os.environ.get(MODE_VARIABLE) or read_json(node.directory / MODE_FILE).get("mode", "own")
    if mode not in MODES:
        raise ValueError(f"no monitor mode {mode!r}; there are {', '.join(MODES)}")
    return mode


def _lines(mode: str, made: Json) -> list[str]:
    whole = json.dumps(made)
    match mode:
        case "silent" | "hanging" | "dying":
            return []
        case "garbage":
            return ["panic: runtime error: index out of range", whole[: len(whole) // 2], whole, "[]", ""]
        case "nonsense":
            return ["panic: runtime error: index out of range"] * 10
        case "enormous":
            return ["x" * ENORMOUS_BYTES, whole]
        case "blind":
            return [json.dumps(made | {"neuron_runtime_data": None})]
        case "older-schema":
            return [json.dumps(in_older_schema(made))]
        case "no-metadata":
            return [json.dumps(without_metadata(made))]
        case "newer-schema":
            return [json.dumps(in_newer_schema(made))]
    return [whole]


def _end(mode: str, made: Json) -> int:
    whole = json.dumps(made)
    print(whole[: len(whole) // 2], end="", flush=True)
    if mode == "hanging":
        # What a process stuck in the driver looks like from outside: it reads and writes nothing, SIGTERM included.
        os.kill(os.getpid(), signal.SIGSTOP)
    print("neuron-monitor (emulated): nrt_sysfs: device gone", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main())
