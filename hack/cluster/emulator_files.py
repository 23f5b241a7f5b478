"""What the emulated nodes lend their pods: PyTorch, the Neuron stand-ins and tools, kept in the cache.

Called by `up` before anything starts. The emulator knows what they are and whether they are up to date; this module
only asks it.
"""

import os
import sys

from cluster.commands import attempt, tail
from cluster.errors import ClusterError
from cluster.progress import say, step
from cluster.settings import HACK, Settings


def prepare(settings: Settings) -> None:
    if not settings.site_packages.exists():
        say(f"preparing the emulated nodes' PyTorch in {settings.site_packages} (several GB, once) …")
    with step("the emulated nodes' PyTorch and Neuron stand-ins"):
        done = attempt(
            *(sys.executable, "-m", "emulator.site_packages", str(settings.site_packages)),
            environment={**os.environ, "PYTHONPATH": str(HACK)},
        )
    if done.returncode != 0:
        raise ClusterError(
            f"{settings.site_packages} could not be prepared:\n{tail(done.stdout + done.stderr, 15)}",
            "is the Python package index reachable, and is there space (`df -h`)? Then run the same command again",
        )
