"""How long an execution takes at least, when the emulated core is to be as fast as a real one.

`speed.json` in the node's directory, or $NEURON_EMULATOR_SERVICE_MS for one process: milliseconds by batch size,
{"8": 5.98, "1": 1.0}, or one number for every batch. A core serves one execution at a time, so AWS's published
throughput gives its service time as batch x cores / throughput.
"""

import json
import os
from collections.abc import Mapping

from emulated_node.node import Node

SERVICE_VARIABLE = "NEURON_EMULATOR_SERVICE_MS"


def service_seconds(throughput_per_second: float, batch_size: int, cores: int) -> float:
    return batch_size * cores / throughput_per_second


class Speed:
    """One process's speed table, read when it claims its cores."""

    def __init__(self, node: Node, environ: Mapping[str, str] = os.environ) -> None:
        path = node.directory / "speed.json"
        text = environ.get(SERVICE_VARIABLE) or (path.read_text() if path.exists() else "{}")
        raw = json.loads(text)
        table = raw if isinstance(raw, dict) else {"0": raw}
        self._seconds = {int(batch): float(milliseconds) / 1000 for batch, milliseconds in table.items()}

    def least_seconds(self, batch_size: int) -> float:
        """The time of this batch size, else of the next larger one in the table, else of the largest; 0 without one."""
        larger = [batch for batch in sorted(self._seconds) if batch >= batch_size]
        if larger:
            return self._seconds[larger[0]]
        return self._seconds[max(self._seconds)] if self._seconds else 0.0
