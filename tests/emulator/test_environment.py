"""The environment for use on a host, as a shell takes it."""

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.integration

HACK = Path(__file__).parents[2] / "hack"


def test_the_printed_lines_make_the_stand_ins_importable(tmp_path: Path) -> None:
    state = tmp_path / "a node"
    script = (
        f'eval "$({sys.executable} -m emulator.environment --state-dir "{state}" --instance-type inf2.24xlarge)"\n'
        f"{sys.executable} -c 'from emulated_node.node import Node\n"
        "node = Node.from_environment(); print(node.directory); print(node.facts.core_count)'\n"
        "command -v neuron-ls\n"
    )

    environment = {"PYTHONPATH": str(HACK), "PATH": "/usr/bin:/bin"}
    ran = subprocess.run(["bash", "-euc", script], env=environment, capture_output=True, text=True, check=False)

    assert ran.stdout.splitlines() == [str(state), "12", str(HACK / "emulator" / "bin" / "neuron-ls")], ran.stderr
