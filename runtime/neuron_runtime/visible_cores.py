"""Finds out which NeuronCores this container was given: the environment first, then neuron-ls, then the device nodes.

The effects behind `cores`, which decides what the answers mean. Called once, at start, by `serving`.
"""

import asyncio
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path

from neuron_runtime.child_processes import kill
from neuron_runtime.cores import VISIBLE_CORES, cores_from_device_nodes, cores_from_neuron_ls, parse_core_list
from neuron_runtime.termination import FatalError, Reason

INSTALLED_AT = Path("/opt/aws/neuron/bin/neuron-ls")
DEVICES = Path("/dev")
NEURON_LS_SECONDS = 10.0


async def find_visible_cores(environment: Mapping[str, str], devices: Path = DEVICES) -> tuple[int, ...]:
    """Ids of the cores this container may use; FatalError when there is none to be found."""
    listed = environment.get(VISIBLE_CORES, "").strip()
    cores = parse_core_list(listed) if listed else await _from_neuron_ls(environment)
    cores = cores or cores_from_device_nodes(_names(devices))
    if cores:
        return cores
    raise FatalError(
        Reason.INVALID_CONFIGURATION,
        f"no NeuronCore is visible: {VISIBLE_CORES} is not set, neuron-ls lists none and there is no /dev/neuron*",
        hint="ask for aws.amazon.com/neuroncore in the container's resources, or serve with --engine cpu",
    )


def _names(folder: Path) -> list[str]:
    return [entry.name for entry in folder.iterdir()]


async def _from_neuron_ls(environment: Mapping[str, str]) -> tuple[int, ...]:
    binary = shutil.which("neuron-ls", path=environment.get("PATH")) or str(INSTALLED_AT)
    try:
        process = await asyncio.create_subprocess_exec(
            binary, "-j", env=dict(environment), stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError:
        return ()
    try:
        output, _ = await asyncio.wait_for(process.communicate(), NEURON_LS_SECONDS)
    except TimeoutError:
        kill(process)
        await process.wait()
        return ()
    return cores_from_neuron_ls(output)
