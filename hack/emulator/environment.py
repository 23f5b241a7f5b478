"""Prints the environment in which a process on this host runs on an emulated node, as shell lines.

`eval "$(python -m emulator.environment)"`, then anything that imports torch_neuronx works. Reads nothing but its
arguments; the directory is made by the first process that claims a core.
"""

import argparse
import shlex
import tempfile
from pathlib import Path

from emulator import BIN, STAND_INS


def host_environment(state: Path, instance_type: str) -> dict[str, str]:
    return {
        "PYTHONPATH": str(STAND_INS),
        "NEURON_EMULATOR_STATE": str(state),
        "NEURON_EMULATOR_INSTANCE_TYPE": instance_type,
    }


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m emulator.environment", description=__doc__)
    parser.add_argument("--state-dir", type=Path, default=Path(tempfile.gettempdir()) / "neuron-emulator")
    parser.add_argument("--instance-type", default="inf2.xlarge")
    options = parser.parse_args()
    for name, value in host_environment(options.state_dir, options.instance_type).items():
        print(f"export {name}={shlex.quote(value)}")
    print(f"export PATH={shlex.quote(str(BIN))}:$PATH")


if __name__ == "__main__":
    main()
