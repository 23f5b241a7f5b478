"""Usage: python -m demo up | down | bundles. The demo of the README: one object, from kubectl apply to its answers."""

import argparse
import subprocess
import sys

from demo import installation, story
from demo.kube import CommandError


def main() -> int:
    parser = argparse.ArgumentParser(prog="demo", description=__doc__)
    parser.add_argument("action", choices=["up", "down", "bundles"])
    action = parser.parse_args().action
    try:
        if action == "up":
            story.tell(installation.install())
        elif action == "down":
            installation.tool("cluster", "down")
        else:
            for name, folder in installation.build_bundles().items():
                print(f"{name}: {folder}")
    except CommandError as error:
        print(f"demo: {error}", file=sys.stderr)
        return 1
    except subprocess.CalledProcessError as error:
        print(
            f"demo: {' '.join(map(str, error.cmd))} ended with {error.returncode}; its output is above", file=sys.stderr
        )
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
