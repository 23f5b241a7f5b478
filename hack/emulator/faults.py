"""Breaks and heals an emulated node from the outside: writes the fault list that its processes follow.

`python -m emulator.faults STATE_DIR add execution_status=1005 --cores 0 --times 3`, `… clear`, `… list`, and
`… monitor MODE` for what neuron-monitor shows. Kinds and their values are in emulated_node.faults, modes in
emulated_node.monitor, each with the struck process's side of it.
"""

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from emulated_node.faults import KINDS, parse_faults
from emulated_node.monitor import MODE_FILE, MODES
from emulated_node.node import write_atomically


def inject(state: Path, *faults: dict[str, object]) -> None:
    """Add faults to the node's list; ValueError for one that does not exist."""
    path = state / "faults.json"
    listed = [*(json.loads(path.read_text()) if path.exists() else []), *faults]
    text = json.dumps(listed)
    parse_faults(text)
    write_atomically(path, text)


def heal(state: Path) -> None:
    (state / "faults.json").unlink(missing_ok=True)
    (state / MODE_FILE).unlink(missing_ok=True)


def set_monitor_mode(state: Path, mode: str) -> None:
    """From its next report on; a neuron-monitor that hangs has to be killed first."""
    if mode not in MODES:
        raise ValueError(f"no monitor mode {mode!r}; there are {', '.join(MODES)}")
    write_atomically(state / MODE_FILE, json.dumps({"mode": mode}))


def _parsed(arguments: Sequence[str] | None) -> argparse.Namespace:
    kinds = "\n".join(f"  {kind:22}{meaning}" for kind, meaning in KINDS.items())
    parser = argparse.ArgumentParser(
        prog="python -m emulator.faults", epilog=f"kinds:\n{kinds}", formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("state_dir", type=Path)
    commands = parser.add_subparsers(dest="command", required=True)
    add = commands.add_parser("add")
    add.add_argument("fault", help="KIND=VALUE")
    add.add_argument("--cores", type=int, nargs="+", default=[], help="only on these cores (default: all)")
    add.add_argument("--tag", default="", help="only in processes whose NEURON_PROCESS_TAG matches")
    add.add_argument("--after", type=int, default=0, help="let so many occasions of a process pass first")
    add.add_argument("--times", type=int, help="strike so often in each process (default: always)")
    commands.add_parser("monitor").add_argument("mode", choices=MODES)
    commands.add_parser("clear")
    commands.add_parser("list")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    options = _parsed(arguments)
    if options.command == "clear":
        heal(options.state_dir)
    elif options.command == "monitor":
        set_monitor_mode(options.state_dir, options.mode)
    elif options.command == "add":
        kind, _, value = options.fault.partition("=")
        chosen = {"cores": options.cores, "tag": options.tag, "after": options.after, "times": options.times}
        try:
            inject(options.state_dir, {"fault": kind, "value": value} | {k: v for k, v in chosen.items() if v})
        except ValueError as error:
            print(f"not injected: {error}", file=sys.stderr)
            return 2
    path = options.state_dir / "faults.json"
    print(path.read_text() if path.exists() else "no faults")
    return 0


if __name__ == "__main__":
    sys.exit(main())
