"""Which NeuronCores this container owns, and the environment that narrows each worker to its own. Pure but for nothing:
callers pass in the environment, neuron-ls' output and the device nodes they found.

The device plugin sets NEURON_RT_VISIBLE_CORES to `1`, `0-1` or `0,1`, or leaves it absent when whole devices were
asked for (Neuron documentation, "NeuronX Runtime Configuration"); then neuron-ls knows, and failing that the nodes.
"""

import re
from collections.abc import Mapping, Sequence

import orjson

from neuron_runtime.termination import FatalError, Reason

VISIBLE_CORES = "NEURON_RT_VISIBLE_CORES"
NUM_CORES = "NEURON_RT_NUM_CORES"
PROCESS_TAG = "NEURON_PROCESS_TAG"
CORES_PER_DEVICE = 2
"""Of every Inf2 and Trn1 device (NeuronCore-v2)."""
CORE_MEMORY_BYTES = 32 * 2**30 // CORES_PER_DEVICE
"""A core's share of its device's memory: every Inf2 and Trn1 device has 32 GiB (Neuron documentation, "Amazon EC2 Inf2
Architecture" and "Amazon EC2 Trn1/Trn1n Architecture")."""
PROCESS_TAG_MAX_LENGTH = 255

_RANGE = re.compile(r"^(\d+)(?:-(\d+))?$")
_DEVICE_NODE = re.compile(r"^neuron(\d+)$")


def parse_core_list(text: str) -> tuple[int, ...]:
    """Core ids of `1`, `0-1`, `0,1` or a mixture, in the order given; FatalError when it is none of them."""
    cores: list[int] = []
    for part in text.split(","):
        match = _RANGE.match(part.strip())
        if match is None:
            raise _invalid(text)
        first = int(match[1])
        last = int(match[2]) if match[2] else first
        if last < first:
            raise _invalid(text)
        cores.extend(range(first, last + 1))
    if len(set(cores)) != len(cores):
        raise _invalid(text)
    return tuple(cores)


def cores_from_neuron_ls(output: bytes) -> tuple[int, ...]:
    """Core ids of all devices neuron-ls lists; empty when the output is not understood.

    Old releases print an array, from 2.34 on an object that holds one (announcement of the end of --json-output).
    """
    try:
        document = orjson.loads(output)
    except orjson.JSONDecodeError:
        return ()
    if isinstance(document, dict):
        document = next((value for value in document.values() if isinstance(value, list)), [])
    cores: list[int] = []
    for device in document if isinstance(document, list) else []:
        if isinstance(device, dict):
            cores.extend(_cores_of_device(device))
    return tuple(sorted(set(cores)))


def _cores_of_device(device: Mapping[str, object]) -> Sequence[int]:
    ids = device.get("neuroncore_ids")
    if isinstance(ids, list):
        return [core for core in ids if isinstance(core, int)]
    index, count = device.get("neuron_device"), device.get("nc_count")
    if isinstance(index, int) and isinstance(count, int):
        return range(index * count, (index + 1) * count)
    return ()


def cores_from_device_nodes(names: Sequence[str]) -> tuple[int, ...]:
    """Core ids of the nodes found in /dev, such as neuron0."""
    devices = sorted(int(match[1]) for name in names if (match := _DEVICE_NODE.match(name)))
    return tuple(device * CORES_PER_DEVICE + core for device in devices for core in range(CORES_PER_DEVICE))


def choose_cores(visible: Sequence[int], wanted: int) -> tuple[int, ...]:
    """The cores to serve on: all visible ones when `wanted` is 0, else the first `wanted`."""
    if wanted > len(visible):
        raise FatalError(
            Reason.INVALID_CONFIGURATION,
            f"{wanted} NeuronCores are configured, but this container sees {len(visible)} ({_listed(visible)})",
            hint="ask for as many aws.amazon.com/neuroncore as the runtime is told to use",
        )
    return tuple(visible[:wanted] if wanted else visible)


def worker_environment(environment: Mapping[str, str], core: int | None, process_tag: str) -> dict[str, str]:
    """The environment of the worker on `core` (None: the engine uses no NeuronCore)."""
    narrowed = {key: value for key, value in environment.items() if key not in {VISIBLE_CORES, NUM_CORES}}
    if core is not None:
        narrowed[VISIBLE_CORES] = str(core)
    narrowed[PROCESS_TAG] = process_tag[:PROCESS_TAG_MAX_LENGTH]
    return narrowed


def process_tag_prefix(environment: Mapping[str, str], model: str, process_id: int) -> str:
    """What all tags of this process's workers start with; neuron-monitor's reports are filtered by it."""
    pod = environment.get("POD_NAME")
    where = f"{environment.get('POD_NAMESPACE', 'default')}/{pod}" if pod else f"local/{process_id}"
    return f"{where}/{model}/"[: PROCESS_TAG_MAX_LENGTH - len("nc-128")]


def _listed(cores: Sequence[int]) -> str:
    return ", ".join(str(core) for core in cores) or "none"


def _invalid(text: str) -> FatalError:
    return FatalError(
        Reason.INVALID_CONFIGURATION,
        f"{VISIBLE_CORES} is '{text}', which is not a list of cores such as 1, 0-1 or 0,1",
        hint="leave the variable to the device plugin; the pod must not set it",
    )
