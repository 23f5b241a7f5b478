"""What the emulated nodes lend their pods: the Python packages the device plugin mounts, built once.

Called by `up` before anything starts. The emulator knows what they are; this module only asks for them.
"""

import os
import shutil
import sys

from cluster import nodes
from cluster.commands import attempt
from cluster.errors import ClusterError
from cluster.progress import step
from cluster.settings import HACK, Settings


def prepare(settings: Settings) -> None:
    target = settings.site_packages
    if not nodes.has_device_plugin() or target.exists():
        return
    partial = target.with_name(f"{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.parent.mkdir(parents=True, exist_ok=True)
    with step(f"preparing the emulated nodes' PyTorch in {target} (several GB, once)"):
        done = attempt(
            *(sys.executable, "-m", "emulator.site_packages", str(partial)),
            environment={**os.environ, "PYTHONPATH": str(HACK)},
        )
    if done.returncode != 0:
        raise ClusterError(
            f"the emulated nodes' packages could not be prepared:\n{(done.stdout + done.stderr)[-1500:]}",
            "is the Python package index reachable, and is there space (`df -h`)? Then run the same command again",
        )
    partial.rename(target)
